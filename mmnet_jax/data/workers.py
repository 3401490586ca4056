"""How a process behaves that reads, decodes or draws for another one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def begin_worker(*_: int) -> None:
    """To be called first in such a process.

    A terminal's Ctrl-C, or a scheduler's SIGTERM, reaches all processes of a command: it is the parent's to answer,
    which may need its workers until the step at hand is done. They end when it says so, or when it is no more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
