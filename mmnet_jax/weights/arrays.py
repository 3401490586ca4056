"""What every format's reader asks of an array: its numbers as float32, its sides possible."""

import math
from typing import Any

import numpy as np

MAX_SIDES = 32


def as_float32(array: np.ndarray) -> np.ndarray:
    """The array as float32 if it is of a floating-point type, else itself; numbers beyond float32's become infinite."""
    # bfloat16 comes as a type of ml_dtypes, which NumPy counts as no floating type (kind V).
    if array.dtype.kind not in "fV":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, copy=False)


def count_elements(sides: Any) -> int:
    """Number of elements of an array with these sides; a ``ValueError`` if no array can have them."""
    if len(sides) > MAX_SIDES or any(side < 0 for side in sides):
        raise ValueError("an array of impossible sides")
    return math.prod(sides)
