"""How fast a training is, and how long it still takes."""

from __future__ import annotations

import math
import time

from mmnet_jax.cli.progress import duration


class Clock:
    """Speed and time left, compilation and evaluation not counted."""

    def __init__(self, start: int, steps: int, batch_size: int, unit: str) -> None:
        """Starts at step ``start`` of ``steps``; ``unit`` is what a batch holds ``batch_size`` of."""
        self._steps, self._batch_size, self._unit = steps, batch_size, unit
        self._last, self._since = start, time.perf_counter()
        self._speed = math.nan

    def lap(self, step: int) -> dict[str, float]:
        """Speed since the last lap, named after its unit; the first lap, which compiles, gives none."""
        now = time.perf_counter()
        done, seconds = step - self._last, now - self._since
        first = math.isnan(self._speed) and done == 1 and self._steps > 1
        self._last, self._since = step, now
        if first:
            return {}
        self._speed = done / seconds
        return {f"{self._unit}_per_second": self._speed * self._batch_size}

    def pause(self) -> None:
        """What passed since the last lap does not count."""
        self._since = time.perf_counter()

    def line(self, step: int, terms: str) -> str:
        """A line of progress; ``terms`` say how good the step was."""
        if math.isnan(self._speed):
            return f"step {step}/{self._steps}  {terms}"
        eta = duration((self._steps - step) / self._speed)
        speed = self._speed * self._batch_size
        return f"step {step}/{self._steps}  {terms}  {speed:.{2 if speed < 100 else 0}f} {self._unit}/s  ETA {eta}"
