"""Ctrl-C and SIGTERM in a long stage: it ends at a safe place, with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """A stage was asked to stop, and did, with a checkpoint."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Takes the first Ctrl-C (or a scheduler's SIGTERM) as a wish to stop after the step at hand, the second as now."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

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
