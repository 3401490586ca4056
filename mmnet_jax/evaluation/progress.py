"""How far an evaluation is."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Integer

from mmnet_jax.cli.progress import duration


class Progress:
    """Tells, every so often: episodes done, episodes a second, the time left and the mIoU so far.

    The first batch waits for the compiler and does not count for the speed.
    """

    def __init__(self, episodes: int, say: Callable[[str], None] | None, seconds: float) -> None:
        self._episodes = episodes
        self._say = say
        self._seconds = seconds
        self._done = self._before = 0
        self._since = self._said = time.monotonic()
        self._sums: dict[int, np.ndarray] = {}

    def update(
        self,
        intersection: Integer[np.ndarray, "b 2"],
        union: Integer[np.ndarray, "b 2"],
        class_ids: Integer[np.ndarray, " b"],
    ) -> None:
        """Counts a batch in."""
        for c, i, u in zip(class_ids.tolist(), intersection[:, 1], union[:, 1], strict=True):
            self._sums[c] = self._sums.get(c, 0) + np.array([i, u], np.int64)
        self._done += len(class_ids)
        now = time.monotonic()
        if not self._before:
            self._before, self._since = self._done, now
        if self._say and (self._done == self._episodes or now - self._said >= self._seconds):
            self._said = now
            self._say(self._line(now))

    def _line(self, now: float) -> str:
        text = f"{self._done:,} of {self._episodes:,} episodes"
        if self._done > self._before:
            speed = (self._done - self._before) / max(now - self._since, 1e-9)
            text += f", {speed:.1f} a second, {duration((self._episodes - self._done) / speed)} left"
        ious = [i / u for i, u in self._sums.values() if u]
        return text + (f", mIoU {100 * np.mean(ious):.2f}" if ious else "")
