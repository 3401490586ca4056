"""3x3 convolutions by Winograd's minimal filtering, for a CPU.

F(2x2, 3x3) (Lavin and Gray, 2016) computes 2 x 2 outputs from a tile of 4 x 4 inputs with 16 products instead of 36:
y = A^T ((G k G^T) * (B^T x B)) A, where each of the tile's 16 elements is a matrix product over the input channels.
The coefficients are 0, 1/2 and 1, so float32 results differ from a direct convolution's by 1e-6 of the largest value.
A convolution with dilation d is d * d undilated ones, each on every d-th pixel. On two cores of an AMD EPYC, 60 x 60
pixels, in ms: 256 to 256 channels 21 -> 12, 1536 to 256 126 -> 98, 512 to 512 with dilation 4 84 -> 64. The kernel's
gradient is no faster this way and stays a direct convolution.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

CHANNELS = 256
"""Minimum of input and output channels: below it the transforms of the tiles take longer than they save."""
SIDE = 24
"""Minimum side of the grid: dilation divides the grid into small ones, whose last tiles are mostly padding."""

Grid = list[list[Array]]


def pays(x: Float[Array, "n h w c"], kernel: Float[Array, "k k i o"]) -> bool:
    """Whether ``winograd`` is faster than a direct convolution: 3x3, float32, many channels and a large grid."""
    is_float32 = x.dtype == kernel.dtype == jnp.float32
    shape = kernel.shape
    return is_float32 and shape[:2] == (3, 3) and min(shape[2:]) >= CHANNELS and min(x.shape[1:3]) >= SIDE


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def winograd(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c o"], dilation: int = 1) -> Float[Array, "n h w o"]:
    """A 3x3 convolution of stride 1, padded to keep the grid; it has no forward-mode derivative."""
    n, height, width, _ = x.shape
    return _join_phases(_undilated(_split_phases(x, dilation), kernel), n, dilation)[:, :height, :width]


def _direct(x: Array, kernel: Array, dilation: int) -> Array:
    padding, dilations = [(dilation, dilation)] * 2, (dilation, dilation)
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, None, dilations, ("NHWC", "HWIO", "NHWC"))


def _forward(x: Array, kernel: Array, dilation: int) -> tuple[Array, tuple[Array, Array]]:
    return winograd(x, kernel, dilation), (x, kernel)


def _backward(dilation: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    _, pull = jax.vjp(lambda kernel: _direct(x, kernel, dilation), kernel)
    return winograd(gradient, kernel[::-1, ::-1].swapaxes(2, 3), dilation), *pull(gradient)


winograd.defvjp(_forward, _backward)


def _undilated(x: Array, kernel: Array) -> Array:
    n, height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)))
    tiles = [[x[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2] for j in range(4)] for i in range(4)]
    inputs, weights = _both_axes(_input_transform, tiles), _both_axes(_kernel_transform, list(map(list, kernel)))
    products = [
        [jnp.einsum("nhwi,io->nhwo", x, k) for x, k in zip(*row, strict=True)]
        for row in zip(inputs, weights, strict=True)
    ]
    outputs = _both_axes(_output_transform, products)
    y = jnp.stack([jnp.stack(row, axis=3) for row in outputs], axis=2)
    return y.reshape(n, 2 * rows, 2 * columns, -1)[:, :height, :width]


def _both_axes(transform: Callable[[list[Array]], list[Array]], grid: Grid) -> Grid:
    for _ in range(2):
        grid = [list(column) for column in zip(*map(transform, grid), strict=True)]
    return grid


def _input_transform(x: list[Array]) -> list[Array]:
    """B^T x."""
    return [x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]]


def _kernel_transform(k: list[Array]) -> list[Array]:
    """G k."""
    return [k[0], 0.5 * (k[0] + k[1] + k[2]), 0.5 * (k[0] - k[1] + k[2]), k[2]]


def _output_transform(m: list[Array]) -> list[Array]:
    """A^T m."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _split_phases(x: Array, dilation: int) -> Array:
    """``[n, h, w, c]`` to ``[n * d * d, ceil(h / d), ceil(w / d), c]``: every d-th pixel from each start."""
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % dilation), (0, -width % dilation), (0, 0)))
    x = x.reshape(n, -1, dilation, x.shape[2] // dilation, dilation, channels)
    return x.transpose(0, 2, 4, 1, 3, 5).reshape(-1, x.shape[1], x.shape[3], channels)


def _join_phases(x: Array, n: int, dilation: int) -> Array:
    """The inverse of ``_split_phases``; the padding stays."""
    _, height, width, channels = x.shape
    x = x.reshape(n, dilation, dilation, height, width, channels).transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(n, height * dilation, width * dilation, channels)
