"""The building block of all backbones: a convolution with batch normalisation whose tensors are not trained.

The tensors of a backbone are in two variable collections, which neither the optimiser nor the step checkpoints hold:
``backbone`` (kernel, scale, bias) never changes; ``batch_stats`` (mean, var; empty without normalisation) changes only
where ``model.batch_norm`` is ``batch``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.convolution import centred_padding, convolve, convolve_ohwi, output_sides, same_padding

OHWI = "kernel_ohwi"
"""Variable name of a kernel in OHWI order."""


def he_deviation(kernel_shape: tuple[int, ...]) -> float:
    """Standard deviation of a random kernel, sqrt(2 / fan-in) (He et al., 2015)."""
    return math.sqrt(2 / math.prod(kernel_shape[:-1]))


def random_kernel(module: nn.Module, shape: tuple[int, ...]) -> Array:
    """A normal kernel with He's standard deviation, from the module's ``params`` rng."""
    return he_deviation(shape) * jax.random.normal(module.make_rng("params"), shape, jnp.float32)


class FrozenConv(nn.Module):
    """Convolution, batch normalisation, activation.

    With the running statistics the normalisation is y = conv(x) * s + b, which ``fold_normalisation`` folds into kernel
    and bias beforehand. With ``batch_statistics`` it uses the mean and the biased variance of the whole call, and
    updates the running ones (by the unbiased variance, as PyTorch does) if ``batch_stats`` is mutable.

    The bias ``offset`` of a ``biased`` convolution is part of the mean and cancels with it: it is never added to y.
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
    momentum: float = 0.1  # weight of a call's statistics in the running ones
    initial_scale: float = 1.0  # scale in a random network; below 1 at the end of a residual branch

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool = False) -> Float[Array, "n h_out w_out o"]:
        layout = self._layout(x)
        if self.has_variable("backbone", "bias") and not self.has_variable("backbone", "scale"):  # folded
            bias: Array = self.get_variable("backbone", "bias")
            outputs_first: Array | None = self.get_variable("backbone", OHWI)
            y = (
                convolve(x, self.get_variable("backbone", "kernel"), **layout)
                if outputs_first is None
                else convolve_ohwi(x, outputs_first, **layout)
            )
            return self._activate(y + bias[None, None, None, :])
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

        if self.is_initializing():  # initialising needs shapes alone, and tracing them is faster
            return jnp.zeros((x.shape[0], *output_sides(x, kernel, **layout), self.features), x.dtype)
        y = convolve(x, kernel, **layout)
        if batch_statistics:
            used_mean, used_var = jnp.mean(y, axis=(0, 1, 2)), jnp.var(y, axis=(0, 1, 2))
            if self.is_mutable_collection("batch_stats"):
                count = math.prod(y.shape[:3])
                unbiased = used_var * (count / max(count - 1, 1))
                mean.value = mean.value + self.momentum * (used_mean + offset - mean.value)
                var.value = var.value + self.momentum * (unbiased - var.value)
        else:
            used_mean, used_var = mean.value - offset, var.value
        scale = scale * jax.lax.rsqrt(used_var + self.epsilon)
        bias = bias - used_mean * scale
        return self._activate(y * scale[None, None, None, :] + bias[None, None, None, :])

    def _layout(self, x: Array) -> dict[str, Any]:
        height, width = (
            same_padding(side, self.kernel_size, self.stride, self.dilation)
            if self.padding == "same"
            else centred_padding(self.kernel_size, self.dilation)
            for side in x.shape[1:3]
        )
        return {"stride": self.stride, "dilation": self.dilation, "padding": (height, width)}

    def _activate(self, y: Array) -> Array:
        return y if self.activation is None else self.activation(y)


def fold_normalisation(
    variables: dict[str, Any], epsilon: float, dtype: DTypeLike, outputs_first: bool = False
) -> dict[str, Any]:
    """A backbone's variables with each batch normalisation folded into its convolution, in ``dtype``.

    conv(x, k) * s + b becomes conv(x, k * s) + b, with s = scale / sqrt(var + epsilon) and b = bias + (offset - mean)
    * s, computed in float64. Tensors of layers without normalisation are only cast. ``outputs_first`` stores kernels in
    OHWI order as ``kernel_ohwi``, for a GPU.
    """
    backbone, statistics = (
        {path: _vector_in_float64(leaf) for path, leaf in flax.traverse_util.flatten_dict(variables[name]).items()}
        for name in ("backbone", "batch_stats")
    )
    folded = {path: leaf for path, leaf in backbone.items() if (*path[:-1], "var") not in statistics}
    for layer in {path[:-1] for path in statistics}:
        gain = backbone[*layer, "scale"] / np.sqrt(statistics[*layer, "var"] + epsilon)
        offset = backbone.get((*layer, "offset"), 0.0)
        folded[*layer, "bias"] = backbone[*layer, "bias"] + (offset - statistics[*layer, "mean"]) * gain
        kernel = backbone[*layer, "kernel"]  # large: multiplied without a copy in float64
        kernel = np.multiply(kernel, gain, out=np.empty(kernel.shape, dtype), casting="unsafe")
        name, kernel = (OHWI, kernel.transpose(3, 0, 1, 2)) if outputs_first else ("kernel", kernel)
        folded[*layer, name] = kernel
    cast = {path: leaf.astype(dtype, copy=False) for path, leaf in folded.items()}
    return {"backbone": flax.traverse_util.unflatten_dict(cast), "batch_stats": {}}


def _vector_in_float64(leaf: Any) -> np.ndarray:
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if leaf.ndim == 1 else leaf
