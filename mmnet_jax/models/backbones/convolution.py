"""Convolutions as the frozen backbones need them: one function, three ways of computing it.

A backbone's time on a CPU is decided here. Measured on two cores at 193 px, one image: XLA's grouped convolution takes
3 to 29 ms for a depthwise layer that costs 0.2 to 1.3 ms as a sum of shifted products (25 x 25 x 1248, 5x5: 28.9
against 1.3), and a 1x1 convolution is up to a third faster as a plain matrix product. Full 3x3 and 7x7 kernels are
fastest as they are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Padding = tuple[int, int]
Paddings = tuple[Padding, Padding]


def same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> Padding:
    """Zeros before and after a side of ``size`` pixels such that ceil(size / stride) come out (TensorFlow's SAME)."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def centred_padding(kernel_size: int, dilation: int) -> Padding:
    """Zeros before and after such that an odd kernel is centred on the first pixel (PyTorch's usual padding)."""
    return dilation * (kernel_size // 2), dilation * (kernel_size // 2)


def convolve(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "k k i o"],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Paddings = ((0, 0), (0, 0)),
) -> Float[Array, "n h_out w_out o"]:
    """A convolution without bias; depthwise where the kernel has one input channel and ``x`` has as many as outputs.

    Args:
      x: images or features.
      kernel: side x side x input channels (1: depthwise) x output channels.
      stride, dilation: the same for both axes.
      padding: zeros (before, after) for the height and the width.
    """
    if kernel.shape[2] == 1 and x.shape[-1] == kernel.shape[3]:
        return lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: _shifted_products(x, kernel, stride, dilation, padding),
            default=lambda x, kernel: _full(x, kernel, stride, dilation, padding, groups=x.shape[-1]),
        )
    if kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        return jnp.einsum("nhwi,io->nhwo", x[:, ::stride, ::stride], kernel[0, 0])
    return _full(x, kernel, stride, dilation, padding)


def _full(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings, groups: int = 1) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )


def _shifted_products(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, height, width, channels = x.shape
    side = kernel.shape[0]
    reach = (side - 1) * dilation
    rows, columns = ((length - reach - 1) // stride + 1 for length in (height, width))
    total = jnp.zeros((n, rows, columns, channels), x.dtype)
    for i in range(side):
        for j in range(side):
            top, left = i * dilation, j * dilation
            window = lax.slice(
                x,
                (0, top, left, 0),
                (n, top + (rows - 1) * stride + 1, left + (columns - 1) * stride + 1, channels),
                (1, stride, stride, 1),
            )
            total = total + window * kernel[i, j, 0][None, None, None, :]
    return total


def max_pool_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h_out w_out c"]:
    """3x3 maximum with stride 2 and one pixel of padding: ceil(h / 2) rows, ceil(w / 2) columns."""
    window, strides, padding = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)


def relu6(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """min(max(x, 0), 6)."""
    return jax.nn.relu6(x)
