"""Random numbers that do not depend on the NumPy version, since they use only a generator's raw bits."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")


class Draws:
    """A stream of random numbers, seeded by integers."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.Philox(np.random.SeedSequence(key))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) / (1 << 53)

    def whole(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + (int(self._bits.random_raw()) * (high - low + 1) >> 64)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.whole(0, len(options) - 1)]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """``count`` distinct options, in random order."""
        left = list(options)
        return [left.pop(self.whole(0, len(left) - 1)) for _ in range(count)]

    def colour(
        self,
        saturation: tuple[float, float] = (0.35, 0.9),
        value: tuple[float, float] = (0.4, 0.95),
        hue: tuple[float, float] = (0.0, 1.0),
    ) -> Float[np.ndarray, "3"]:
        """An RGB colour in [0, 1] with saturation, value and hue (0 red, 1/3 green, 2/3 blue) in the given ranges."""
        turn, s, v = self.uniform(*hue), self.uniform(*saturation), self.uniform(*value)
        k = (np.array([5.0, 3.0, 1.0]) + 6 * turn) % 6
        return v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)

    def noise(self, *shape: int) -> Float[np.ndarray, "..."]:
        """An array of uniform numbers in [-1, 1)."""
        count = int(np.prod(shape))
        return ((self._bits.random_raw(count) >> np.uint64(11)) * (2.0 / (1 << 53)) - 1).reshape(shape)
