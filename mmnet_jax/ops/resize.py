"""Align-corners bilinear resizing (corner pixels of input and output coincide), and pooling."""

from collections.abc import Callable
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
    return resize_bilinear(x, size), jnp.zeros(x.shape[-3:-1], jnp.bool_)  # an array, because residuals are arrays


def _resize_backward(size: Size, source: Array, gradient: Array) -> tuple[Array]:
    return (_multiply_sides(gradient, source.shape, lambda side, target: _interpolation_matrix(target, side).T),)


resize_bilinear.defvjp(_resize_forward, _resize_backward)


def resize_to_sides(maps: Float[Array, "b s s"], sides: Int[Array, " b"], canvas: int) -> Float[Array, "b m m"]:
    """Align-corners bilinear resize of each map to a square whose traced side is its own, top-left in a canvas.

    Args:
      maps: one channel of S x S each.
      sides: side of each map's square, 1 to ``canvas``.
      canvas: M; (M - 1)(S - 1) must stay below 2^31. Outside its square a map repeats its last row and column.
    """
    size = maps.shape[-1]

    def resize(image: Float[Array, "s s"], side: Int[Array, ""]) -> Float[Array, "m m"]:
        between = _align_corners(jnp.minimum(jnp.arange(canvas), side - 1), size, jnp.maximum(side - 1, 1))
        return _resize_rows(_resize_rows(image.T, *between).T, *between)

    return jax.vmap(resize)(maps, sides)


def resize_on_host(values: Float[np.ndarray, "h_in w_in"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Align-corners bilinear resize of one map in NumPy, so that no size has to be compiled."""
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
    return _multiply_sides(x, (size, size) if isinstance(size, int) else size, _averaging_matrix)


def _align_corners(i: Any, source: int, steps: Any) -> tuple[Any, Any, Any]:
    """Source rows below and above output row i of ``steps`` + 1, and the fraction of the way between them.

    Coordinates are integers because float32 products are off by up to 3e-5 pixels, which can flip a boundary pixel.
    Works on NumPy and traced arrays.
    """
    scaled = i * (source - 1)
    below = scaled // steps
    above = below + (below < source - 1).astype(below.dtype)
    return below, above, (scaled % steps).astype(np.float32) / steps.astype(np.float32)


def _resize_rows(x: Any, below: Any, above: Any, fraction: Any) -> Any:
    """Gathers whole rows: on a CPU, gathering single elements takes three times as long."""
    low = x[below]
    return low + fraction[:, None] * (x[above] - low)


def _multiply_sides(x: Array, size: tuple[int, ...], matrix: Callable[[int, int], np.ndarray]) -> Array:
    """``x`` times ``matrix(side, target side)`` along height and width, where the side changes."""
    for spec, side, target in zip(("...hwc,oh->...owc", "...hwc,ow->...hoc"), x.shape[-3:-1], size, strict=True):
        if side != target:
            x = jnp.einsum(spec, x, jnp.asarray(matrix(side, target), x.dtype), precision="highest")
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


def _interpolation_matrix(source: int, target: int) -> np.ndarray:
    below, above, fraction = _source_rows(source, target)
    matrix = np.zeros((target, source), np.float32)
    np.add.at(matrix, (np.arange(target), below), 1 - fraction)
    np.add.at(matrix, (np.arange(target), above), fraction)
    return matrix


def _averaging_matrix(source: int, target: int) -> np.ndarray:
    matrix = np.zeros((target, source), np.float32)
    for i in range(target):
        start, stop = i * source // target, -((i + 1) * source // -target)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
