"""Random numbers from Philox's raw 64-bit output, which no NumPy version changes; each use has its own stream."""

import functools

import numpy as np
from jaxtyping import Int, UInt64

EPISODE_ORDER, TRAINING, TESTING, IMAGE_ORDER, CROP = range(5)


def numbers(seed: int, stream: int, i: int, count: int) -> UInt64[np.ndarray, " count"]:
    """``count`` uniform 64-bit numbers, a pure function of ``(seed, stream, i)``."""
    return np.random.Philox(np.random.SeedSequence((seed, stream, i))).random_raw(count)


@functools.lru_cache(maxsize=4)
def permutation(seed: int, stream: int, i: int, size: int) -> Int[np.ndarray, " size"]:
    """A random order of 0 to ``size`` - 1, a pure function of ``(seed, stream, i)``; do not write to it."""
    return np.argsort(numbers(seed, stream, i, size), kind="stable")
