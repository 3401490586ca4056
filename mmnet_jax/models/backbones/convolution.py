"""Convolutions and pools of backbones and heads, with a faster computation of each kind for the CPU.

Convolutions take most of a network's time on a CPU; measured on two cores with XLA's own CPU library:
- A depthwise layer costs 0.2 to 1.3 ms as a sum of shifted products, where a grouped convolution takes 3 to 29 ms (one
  image, 25 x 25 x 1248, 5x5: 28.9 against 1.3).
- A 1x1 convolution is up to a third faster as a plain matrix product, and so is its kernel's gradient, four times:
  XLA otherwise computes the gradient of the layer above in transposed order.
- 3x3 kernels between many channels on large grids take half to three quarters of the time by ``winograd``.
- Other 3x3 and 7x7 kernels are fastest as XLA's convolution, with two exceptions. From 3 to at most 32 channels, a
  fourth channel of zeros makes them three times faster (64 images, 64 x 64, 7x7: 27 ms against 7). On grids of at most
  2 x 2 pixels a matrix product of the windows is 20 times faster (64 images, 256 channels, the gradient back to 4 x 4:
  90 against 2).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmnet_jax.models.winograd import pays, winograd

Padding = tuple[int, int]
Paddings = tuple[Padding, Padding]


def same_padding(size: int, kernel_size: int, stride: int, dilation: int) -> Padding:
    """Zeros before and after a side of ``size`` pixels for ceil(size / stride) outputs (TensorFlow's SAME)."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel_size - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def centred_padding(kernel_size: int, dilation: int) -> Padding:
    """Zeros before and after a side that centre an odd kernel on the first pixel (PyTorch's usual padding)."""
    return dilation * (kernel_size // 2), dilation * (kernel_size // 2)


# Traced once for layers of the same shape; inlined, since XLA compiles gradients of calls badly for a CPU (8x slower).
@partial(jax.jit, static_argnames=("stride", "dilation", "padding"), inline=True)
def convolve(
    x: Float[Array, "n h w c"],
    kernel: Float[Array, "k k i o"],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: Paddings = ((0, 0), (0, 0)),
) -> Float[Array, "n h_out w_out o"]:
    """A convolution without bias; depthwise where the kernel has one input channel and ``x`` has as many as outputs.

    ``stride`` and ``dilation`` apply to both axes; ``padding`` is zeros (before, after) for the height and the width.
    Products and the result have the kernel's dtype.
    """
    x = x.astype(kernel.dtype)
    layout: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": padding}
    full: Callable[..., Array] = partial(_full, **layout)
    if kernel.shape[2] == 1 and x.shape[-1] == kernel.shape[3]:
        faster, full = _shifted_products, partial(full, groups=x.shape[-1])
    elif kernel.shape[:2] == (1, 1) and padding == ((0, 0), (0, 0)):
        faster = lambda x, kernel, **_: _pointwise(x[:, ::stride, ::stride], kernel[0, 0])  # noqa: E731
    elif stride == 1 and padding == 2 * ((dilation, dilation),) and pays(x, kernel):
        faster = lambda x, kernel, **_: winograd(x, kernel, dilation)  # noqa: E731
    elif max(output_sides(x, kernel, **layout)) <= 2:
        faster = _window_products
    elif x.shape[-1] == 3 and kernel.shape[3] <= 32:
        faster = _four_channels
    else:
        return full(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=partial(faster, **layout), default=full)


def convolve_ohwi(
    x: Float[Array, "n h w c"], kernel: Float[Array, "o k k i"], **layout: Any
) -> Float[Array, "n h_out w_out o"]:
    """``convolve`` with a kernel in OHWI order, which cuDNN takes without transposing it in every call."""
    return _full(x.astype(kernel.dtype), kernel, groups=x.shape[-1] // kernel.shape[-1], kernel_axes="OHWI", **layout)


def _full(
    x: Array,
    kernel: Array,
    stride: int,
    dilation: int,
    padding: Paddings,
    groups: int = 1,
    kernel_axes: str = "HWIO",
) -> Array:
    strides, dilations = (stride, stride), (dilation, dilation)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, None, dilations, ("NHWC", kernel_axes, "NHWC"), feature_group_count=groups
    )


def _shifted_products(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> Array:
    windows = _windows(x, kernel, stride, dilation, padding)
    taps = kernel.reshape(-1, kernel.shape[-1])
    total = jnp.zeros_like(windows[0])
    for window, tap in zip(windows, taps, strict=True):
        total = total + window * tap[None, None, None, :]
    return total


def _window_products(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> Array:
    windows = jnp.concatenate(_windows(x, kernel, stride, dilation, padding), axis=-1)
    return jnp.einsum("nhwi,io->nhwo", windows, kernel.reshape(-1, kernel.shape[-1]))


def _four_channels(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> Array:
    x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return _full(x, kernel, stride, dilation, padding)


@jax.custom_vjp
def _pointwise(x: Array, kernel: Array) -> Array:
    return jnp.einsum("nhwi,io->nhwo", x, kernel)


def _pointwise_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _pointwise(x, kernel), (x, kernel)


def _pointwise_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    pixels, gradients = (y.reshape(-1, y.shape[-1]) for y in (x, gradient))
    return jnp.einsum("nhwo,io->nhwi", gradient, kernel), lax.dot_general(pixels, gradients, (((0,), (0,)), ((), ())))


_pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _windows(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> list[Array]:
    """The pixels under each tap of the kernel, in the kernel's row-major order."""
    rows, columns = output_sides(x, kernel, stride, dilation, padding)
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    n, channels = x.shape[0], x.shape[-1]
    height, width = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    starts = [(i * dilation, j * dilation) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
    return [
        lax.slice(x, (0, top, left, 0), (n, top + height, left + width, channels), (1, stride, stride, 1))
        for top, left in starts
    ]


def output_sides(x: Array, kernel: Array, stride: int, dilation: int, padding: Paddings) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    reach = (kernel.shape[0] - 1) * dilation
    rows, columns = (
        (side + sum(zeros) - reach - 1) // stride + 1 for side, zeros in zip(x.shape[1:3], padding, strict=True)
    )
    return rows, columns


def max_pool_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h_out w_out c"]:
    """3x3 maximum with stride 2 and one pixel of padding: ceil(h / 2) rows, ceil(w / 2) columns.

    Computed from shifted slices, one axis after the other: on a CPU twice as fast as XLA's reduce-window, and ten times
    in the gradient.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    for axis in (1, 2):
        last = (x.shape[axis] - 3) // 2 * 2
        first, second, third = (lax.slice_in_dim(x, i, i + last + 1, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def max_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h_out w_out c"]:
    """2x2 maximum with stride 2, cut off at the end of an odd side: ceil(h / 2) rows, ceil(w / 2) columns.

    Computed from slices: the gradient of XLA's reduce-window takes 5 to 20 times as long on a CPU.
    """
    rows, columns = (side % 2 for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (0, rows), (0, columns), (0, 0)), constant_values=-jnp.inf)
    top, bottom = x[:, ::2], x[:, 1::2]
    return jnp.maximum(jnp.maximum(top[:, :, ::2], top[:, :, 1::2]), jnp.maximum(bottom[:, :, ::2], bottom[:, :, 1::2]))
