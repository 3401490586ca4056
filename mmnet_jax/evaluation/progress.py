"""How far an evaluation is, on one line of stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

import numpy as np
from jaxtyping import Integer


class ProgressLine:
    """Episodes done, episodes a second, time left and the mIoU so far.

    The line renews itself on a terminal; elsewhere one is written every half a minute. The first batch, which waits
    for the compiler, does not count for the speed.
    """

    def __init__(self, episodes: int, enabled: bool = True, stream: TextIO | None = None) -> None:
        self._episodes = episodes
        self._enabled = enabled
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._interval = 0.5 if self._live else 30.0
        self._done = self._compiled = 0
        self._started = self._written = time.monotonic()
        self._sums: dict[int, np.ndarray] = {}

    def update(
        self, intersection: Integer[np.ndarray, "b 2"], union: Integer[np.ndarray, "b 2"], class_ids: np.ndarray
    ) -> None:
        """Counts a batch in."""
        for c, i, u in zip(class_ids.tolist(), intersection[:, 1], union[:, 1], strict=True):
            self._sums[c] = self._sums.get(c, np.zeros(2, np.int64)) + np.array([i, u], np.int64)
        self._done += len(class_ids)
        now = time.monotonic()
        if not self._compiled:
            self._compiled, self._started = self._done, now
        last = self._done == self._episodes
        if self._enabled and (last or now - self._written >= self._interval):
            self._written = now
            self._write(now, last)

    def _write(self, now: float, last: bool) -> None:
        text = f"{self._done:,} of {self._episodes:,} episodes"
        if self._done > self._compiled:
            speed = (self._done - self._compiled) / max(now - self._started, 1e-9)
            left = (self._episodes - self._done) / speed
            text += f", {speed:.1f} a second, {int(left) // 60}:{int(left) % 60:02d} left"
        sums = [s for s in self._sums.values() if s[1]]
        if sums:
            text += f", mIoU {100 * np.mean([i / u for i, u in sums]):.2f}"
        # Spaces wipe out what a longer line left behind.
        self._stream.write(f"\r{text:<79}" + ("\n" if last else "") if self._live else text + "\n")
        self._stream.flush()
