"""Align-corners bilinear resizing (corner pixels of input and output coincide), and pooling."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Size = int | tuple[int, ...]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def resize_bilinear(x: Float[Array, "*b h_in w_in c"], size: Size) -> Float[Array, "*b h w c"]:
    """Align-corners bilinear resize to a static size.

    Rows and columns are gathered and interpolated, in float32 whatever the type of ``x``; the gradient is two products
    with small interpolation matrices, which is faster than scattering. Source coordinates are computed in float32, as
    the usual PyTorch op does.

    Args:
      x: maps, channels last.
      size: h and w of the output; one number for a square. A side of 1 takes the first pixel.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return _interpolate(_interpolate(x, height, x.ndim - 3), width, x.ndim - 2)


def _resize_forward(x: Array, size: Size) -> tuple[Array, Array]:
    return resize_bilinear(x, size), jnp.zeros(x.shape[-3:-1], jnp.bool_)  # of which the shape is wanted


def _resize_backward(size: Size, source: Array, gradient: Array) -> tuple[Array]:
    rows, columns = map(_interpolation_matrix, source.shape, gradient.shape[-3:-1])
    return (_along_sides(gradient, *(None if m is None else m.T for m in (rows, columns))),)


resize_bilinear.defvjp(_resize_forward, _resize_backward)


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
        x = jnp.einsum("...hwc,oh->...owc", x, jnp.asarray(rows, x.dtype), precision="highest")
    if columns is not None:
        x = jnp.einsum("...hwc,ow->...hoc", x, jnp.asarray(columns, x.dtype), precision="highest")
    return x


def _interpolate(x: Array, target: int, axis: int) -> Array:
    source = x.shape[axis]
    if source == target:
        return x
    below, above, fraction = _source_rows(source, target)
    fraction = fraction.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    low, high = (jnp.take(x, rows, axis, mode="clip").astype(jnp.float32) for rows in (below, above))
    return (low * (1 - fraction) + high * fraction).astype(x.dtype)


def _source_rows(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source rows below and above each output row, and the fraction of the way between them."""
    scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
    position = np.arange(target, dtype=np.float32) * scale
    below = np.minimum(position.astype(np.int64), source - 1)
    return below, np.minimum(below + 1, source - 1), position - below.astype(np.float32)


def _interpolation_matrix(source: int, target: int) -> np.ndarray | None:
    if source == target:
        return None
    below, above, fraction = _source_rows(source, target)
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
