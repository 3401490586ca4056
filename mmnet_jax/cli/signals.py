"""Ctrl-C and SIGTERM in a long stage: it ends at a safe place, with a checkpoint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """A stage was asked to stop, and did, with a checkpoint."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Takes the first Ctrl-C (or a scheduler's SIGTERM) as a wish to stop after the step at hand, the second as now.

    Yields:
      Whether there was a first.
    """
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # past Python's buffers, which the signal may have caught in the midst of a line
        os.write(2, b"stopping after this step, with a checkpoint; once more stops now, without\n")

    try:
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals cannot be caught
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
