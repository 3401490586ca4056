"""Resizing and pooling of feature maps, as the published networks do it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Size = int | tuple[int, ...]


def resize_bilinear(x: Float[Array, "*b h_in w_in c"], size: Size) -> Float[Array, "*b h w c"]:
    """Align-corners bilinear resize: the corner pixels of input and output coincide.

    Two small interpolation matrices, so that the gradient is two matrix products as well. Source coordinates are
    computed in float32, as the usual PyTorch op does.

    Args:
      x: maps, channels last.
      size: h and w of the output; one number for a square. A side of 1 takes the first pixel.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _along_sides(x, _interpolation_matrix(x.shape[-3], height), _interpolation_matrix(x.shape[-2], width))


def adaptive_average_pool(x: Float[Array, "*b h_in w_in c"], size: Size) -> Float[Array, "*b h w c"]:
    """Mean over the windows ``floor(i * H / h) .. ceil((i + 1) * H / h)`` of each side.

    Args:
      x: maps, channels last.
      size: h and w of the output; one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _along_sides(x, _averaging_matrix(x.shape[-3], height), _averaging_matrix(x.shape[-2], width))


def _along_sides(x: Array, rows: np.ndarray | None, columns: np.ndarray | None) -> Array:
    if rows is not None:
        x = jnp.einsum("oh,...hwc->...owc", jnp.asarray(rows, x.dtype), x, precision="highest")
    if columns is not None:
        x = jnp.einsum("ow,...hwc->...hoc", jnp.asarray(columns, x.dtype), x, precision="highest")
    return x


def _interpolation_matrix(source: int, target: int) -> np.ndarray | None:
    if source == target:
        return None
    scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
    position = np.arange(target, dtype=np.float32) * scale
    below = np.minimum(position.astype(np.int64), source - 1)
    above = np.minimum(below + 1, source - 1)
    fraction = position - below.astype(np.float32)
    matrix = np.zeros((target, source), np.float32)
    np.add.at(matrix, (np.arange(target), below), 1 - fraction)
    np.add.at(matrix, (np.arange(target), above), fraction)
    return matrix


def _averaging_matrix(source: int, target: int) -> np.ndarray | None:
    if source == target:
        return None
    matrix = np.zeros((target, source), np.float32)
    for i in range(target):
        start, stop = i * source // target, -((i + 1) * source // -target)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
