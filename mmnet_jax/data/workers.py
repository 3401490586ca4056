"""Set-up of a worker process, which reads, decodes or draws for its parent."""

import multiprocessing
import os
import signal
import threading


def begin_worker(*_: int) -> None:
    """Ignores SIGINT and SIGTERM, and ends the worker with its parent; called first in the worker.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes of a command. The parent handles them, and needs
    its workers until the current step is done.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
