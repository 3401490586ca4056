"""Floating-point numbers of any size as float32."""

import numpy as np


def as_float32(array: np.ndarray) -> np.ndarray:
    """The array as float32 if it is of a floating-point type, else itself; numbers beyond float32's become infinite."""
    # bfloat16 comes as a type of ml_dtypes, which NumPy counts as no floating type (kind V).
    if array.dtype.kind not in "fV":
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float32, copy=False)
