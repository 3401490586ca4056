"""Align-corners bilinear resizing (corner pixels of input and output coincide), and pooling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Size = int | tuple[int, ...]


def resize_bilinear(x: Float[Array, "*b h_in w_in c"], size: Size) -> Float[Array, "*b h w c"]:
    """Align-corners bilinear resize to a static size.

    Two small interpolation matrices, so that the gradient is two matrix products as well. Source coordinates are
    computed in float32, as the usual PyTorch op does.

    Args:
      x: maps, channels last.
      size: h and w of the output; one number for a square. A side of 1 takes the first pixel.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _along_sides(x, _interpolation_matrix(x.shape[-3], height), _interpolation_matrix(x.shape[-2], width))


def resize_to_sides(maps: Float[Array, "b s s"], sides: Int[Array, " b"], canvas: int) -> Float[Array, "b m m"]:
    """Align-corners bilinear resize of each map to a square of its own, traced size, top-left in a canvas.

    Args:
      maps: one channel of S x S each.
      sides: side of each map's square, 1 to ``canvas``.
      canvas: M; (M - 1)(S - 1) must stay below 2^31. Beyond an example's own square the last row and column repeat.
    """
    size = maps.shape[-1]

    def resize(image: Float[Array, "s s"], side: Int[Array, ""]) -> Float[Array, "m m"]:
        between = _align_corners(jnp.minimum(jnp.arange(canvas), side - 1), size, jnp.maximum(side - 1, 1))
        return _resize_rows(_resize_rows(image.T, *between).T, *between)

    return jax.vmap(resize)(maps, sides)


def resize_on_host(values: Float[np.ndarray, "h_in w_in"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Align-corners bilinear resize of one map by NumPy, which compiles for no size."""
    for target in size:
        between = _align_corners(np.arange(target), len(values), np.maximum(target - 1, 1))
        values = _resize_rows(values, *between).T
    return values


def adaptive_average_pool(x: Float[Array, "*b h_in w_in c"], size: Size) -> Float[Array, "*b h w c"]:
    """Mean over the windows ``floor(i * H / h) .. ceil((i + 1) * H / h)`` of each side.

    Args:
      x: maps, channels last.
      size: h and w of the output; one number for a square.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _along_sides(x, _averaging_matrix(x.shape[-3], height), _averaging_matrix(x.shape[-2], width))


def _align_corners(i: Any, source: int, steps: Any) -> tuple[Any, Any, Any]:
    """Source rows below and above output row i of ``steps`` + 1, and the fraction of the way between them.

    In integers: in float32 the product would be off by up to 3e-5 pixels, enough to flip a pixel of a boundary now and
    then. For NumPy and traced arrays.
    """
    scaled = i * (source - 1)
    below = scaled // steps
    above = below + (below < source - 1).astype(below.dtype)
    return below, above, (scaled % steps).astype(np.float32) / steps.astype(np.float32)


def _resize_rows(x: Any, below: Any, above: Any, fraction: Any) -> Any:
    """Whole rows are gathered, twice, since single elements take three times as long on a CPU."""
    low = x[below]
    return low + fraction[:, None] * (x[above] - low)


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
