"""Layers of the trained parts, with PyTorch's padding and initialisation."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.convolution import Padding, convolve

KERNEL_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def convolution(channels: int, kernel: int, dtype: DTypeLike = jnp.float32, name: str | None = None) -> nn.Conv:
    """A convolution without bias and with an odd ``kernel`` side, padded to keep the grid.

    Its float32 parameters start uniform within 1 / sqrt(fan in); it computes and returns ``dtype``.
    """
    fixed: Any = {"use_bias": False, "kernel_init": KERNEL_INIT, "dtype": dtype, "name": name}
    return nn.Conv(channels, (kernel, kernel), padding=kernel // 2, conv_general_dilated=_convolve, **fixed)


def _convolve(x: Array, kernel: Array, strides: Any, padding: Sequence[Padding], **_: Any) -> Array:
    height, width = padding
    return convolve(x, kernel, padding=(height, width))


def channel_dropout(rate: float, name: str | None = None) -> nn.Dropout:
    """Dropout of whole channels (PyTorch's Dropout2d)."""
    return nn.Dropout(rate, broadcast_dims=(1, 2), name=name)


class Classifier(nn.Module):
    """3x3 convolution, ReLU, channel dropout 0.1, and a 1x1 convolution with bias to background and foreground.

    The last convolution is always float32; ``dtype`` is that of the first.
    """

    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool = False) -> Float[Array, "b h w 2"]:
        x = nn.relu(convolution(self.channels, 3, self.dtype, "hidden")(x))
        x = channel_dropout(0.1)(x, deterministic=not train)
        bias = partial(jax.random.uniform, minval=-(self.channels**-0.5), maxval=self.channels**-0.5)
        return nn.Conv(2, (1, 1), kernel_init=KERNEL_INIT, bias_init=bias, dtype=jnp.float32, name="output")(x)


class Refinement(nn.Module):
    """Two 3x3 convolutions with ReLU, and a residual connection."""

    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = nn.relu(convolution(self.channels, 3, self.dtype, "first")(x))
        return nn.relu(convolution(self.channels, 3, self.dtype, "second")(y)) + x
