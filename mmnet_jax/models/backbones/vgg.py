"""VGG-16: five blocks of 3x3 convolutions with pools between them, with or without batch normalisation.

Levels 2, 3 and 4 are the third block and its pool, the fourth block and its pool, and the fifth block. The common grid
is level 3's, at stride 16: level 2 is resized to it and the fifth block is not pooled.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.backbone import Layers, Levels, StagedBackbone
from mmnet_jax.models.backbones.convolution import convolve, max_pool_2x2
from mmnet_jax.models.backbones.frozen import FrozenConv, random_kernel
from mmnet_jax.ops.resize import resize_bilinear


class BiasedConv(nn.Module):
    """3x3 convolution with a bias, and ReLU; ``batch_statistics`` has no effect without normalisation."""

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool = False) -> Float[Array, "n h w o"]:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.variable("backbone", "kernel", lambda: random_kernel(self, shape)).value
        bias = self.variable("backbone", "bias", lambda: jnp.zeros((self.features,), jnp.float32)).value
        return nn.relu(convolve(x, kernel, padding=((1, 1), (1, 1))) + bias[None, None, None, :])


class VGG(StagedBackbone):
    """VGG-16's features; at an ``output_stride`` of 32 block 5 is pooled too, and level 2 keeps its own grid."""

    output_stride: int = 16
    batch_norm: bool = True
    blocks: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

    def setup(self) -> None:
        conv: Any = partial(FrozenConv, kernel_size=3, biased=True) if self.batch_norm else BiasedConv
        self.block1, self.block2, self.block3, self.block4, self.block5 = (
            [conv(features) for features in block] for block in self.blocks
        )

    @property
    def channels(self) -> dict[str, int]:
        return {f"level{i}": block[-1] for i, block in enumerate(self.blocks[2:], start=2)}

    @property
    def stages(self) -> tuple[Layers, Layers, Layers]:
        pool: Any = lambda x, _: max_pool_2x2(x)  # noqa: E731
        level4 = [*self.block5, pool] if self.output_stride == 32 else self.block5
        return [*self.block1, pool, *self.block2, pool, *self.block3, pool], [*self.block4, pool], level4

    def mid_levels(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Levels:
        levels = super().mid_levels(images, batch_statistics)
        if self.output_stride < 32:
            levels["level2"] = resize_bilinear(levels["level2"], levels["level3"].shape[1:3])
        return levels
