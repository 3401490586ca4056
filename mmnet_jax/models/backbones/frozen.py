"""What every backbone is built of: a convolution whose tensors are no parameters, with its batch normalisation.

The tensors of a backbone live in two variable collections of their own, so neither the optimiser nor the step
checkpoints ever see them: ``backbone`` (kernel, scale, bias) never changes, ``batch_stats`` (mean, var; empty where
nothing is normalised) moves only when a reading trains with each call's own statistics.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.convolution import centred_padding, convolve, same_padding


def he_deviation(kernel_shape: tuple[int, ...]) -> float:
    """Standard deviation of a random kernel, sqrt(2 / fan-in) (He et al., 2015)."""
    return math.sqrt(2 / math.prod(kernel_shape[:-1]))


def random_kernel(module: nn.Module, shape: tuple[int, ...]) -> Array:
    """Normal, of He's deviation, from the module's ``params`` rng."""
    return he_deviation(shape) * jax.random.normal(module.make_rng("params"), shape, jnp.float32)


class FrozenConv(nn.Module):
    """Convolution, batch normalisation, activation.

    With running statistics the normalisation is folded: y = conv(x) * s + b. With ``batch_statistics`` it uses the
    mean and the biased variance of the whole call, and moves the running ones (by the unbiased variance, as PyTorch
    does) where ``batch_stats`` is mutable.

    A ``biased`` convolution's own bias, ``offset``, is part of the mean and cancels with it: it is never added to y.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    depthwise: bool = False
    padding: str = "centred"  # centred: kernel_size // 2 on every side (PyTorch) | same: from the input's size
    activation: Callable[[Array], Array] | None = jax.nn.relu
    epsilon: float = 1e-5
    biased: bool = False
    momentum: float = 0.1  # weight of a call's own statistics in the new running ones
    initial_scale: float = 1.0  # of a random network's normalisation; below 1 where a residual branch ends

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool = False) -> Float[Array, "n h_out w_out o"]:
        inputs = 1 if self.depthwise else x.shape[-1]
        kernel_shape = (self.kernel_size, self.kernel_size, inputs, self.features)
        kernel = self.variable("backbone", "kernel", lambda: random_kernel(self, kernel_shape)).value
        shape = (self.features,)
        zeros, ones = (functools.partial(make, shape, jnp.float32) for make in (jnp.zeros, jnp.ones))
        scale = self.variable("backbone", "scale", lambda: self.initial_scale * ones()).value
        bias = self.variable("backbone", "bias", zeros).value
        offset = self.variable("backbone", "offset", zeros).value if self.biased else 0.0
        mean = self.variable("batch_stats", "mean", zeros)
        var = self.variable("batch_stats", "var", ones)

        height, width = (
            same_padding(side, self.kernel_size, self.stride, self.dilation)
            if self.padding == "same"
            else centred_padding(self.kernel_size, self.dilation)
            for side in x.shape[1:3]
        )
        y = convolve(x, kernel, stride=self.stride, dilation=self.dilation, padding=(height, width))
        if batch_statistics:
            used_mean, used_var = jnp.mean(y, axis=(0, 1, 2)), jnp.var(y, axis=(0, 1, 2))
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                count = math.prod(y.shape[:3])
                unbiased = used_var * (count / max(count - 1, 1))
                mean.value = mean.value + self.momentum * (used_mean + offset - mean.value)
                var.value = var.value + self.momentum * (unbiased - var.value)
        else:
            used_mean, used_var = mean.value - offset, var.value
        scale = scale * jax.lax.rsqrt(used_var + self.epsilon)
        bias = bias - used_mean * scale
        y = y * scale[None, None, None, :] + bias[None, None, None, :]
        return y if self.activation is None else self.activation(y)
