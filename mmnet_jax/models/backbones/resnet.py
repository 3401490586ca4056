"""ResNets with bottleneck blocks, dilated so that stages 2, 3 and 4 share the stride-8 grid.

Stages 3 and 4 keep stride 1 and dilate every block's 3x3 convolution by 2 and 4, the first block's too. The stride of
stage 2 is on its first 3x3 convolution (torchvision's way). ``v2`` in a name means the deep stem of three 3x3
convolutions that PFENet uses: neither pre-activation nor torchvision's IMAGENET1K_V2 weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.convolution import max_pool_3x3
from mmnet_jax.models.backbones.frozen import Backbone, FrozenConv

WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around which the input is added, projected where its shape changes."""

    width: int
    stride: int = 1
    dilation: int = 1
    project: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool = False) -> Float[Array, "n h_out w_out o"]:
        outputs = EXPANSION * self.width
        y = FrozenConv(self.width, name="conv1")(x, batch_statistics)
        y = FrozenConv(self.width, 3, self.stride, self.dilation, name="conv2")(y, batch_statistics)
        y = FrozenConv(outputs, activation=None, initial_scale=0.4, name="conv3")(y, batch_statistics)
        if self.project:
            x = FrozenConv(outputs, stride=self.stride, activation=None, name="projection")(x, batch_statistics)
        return jax.nn.relu(x + y)


class ResNet(Backbone):
    """A ResNet of ``depths`` blocks in its four stages, with the 7x7 stem or the deep one."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    deep_stem: bool = False

    def setup(self) -> None:
        if self.deep_stem:
            self.stem = [FrozenConv(64, 3, 2), FrozenConv(64, 3), FrozenConv(128, 3)]
        else:
            self.stem = [FrozenConv(64, 7, 2)]
        self.stage1, self.stage2, self.stage3, self.stage4 = (self._stage(i) for i in range(4))

    def _stage(self, i: int) -> list[Bottleneck]:
        first = Bottleneck(WIDTHS[i], STRIDES[i], DILATIONS[i], project=True)
        return [first, *(Bottleneck(WIDTHS[i], 1, DILATIONS[i]) for _ in range(self.depths[i] - 1))]

    @property
    def channels(self) -> tuple[int, int, int]:
        return 512, 1024, 2048

    def mid_levels(
        self, images: Float[Array, "n s s 3"], batch_statistics: bool = False
    ) -> tuple[Float[Array, "n h w 512"], Float[Array, "n h w 1024"]]:
        x = max_pool_3x3(_run(self.stem, images, batch_statistics))
        level2 = _run([*self.stage1, *self.stage2], x, batch_statistics)
        return level2, _run(self.stage3, level2, batch_statistics)

    def high_level(
        self, level3: Float[Array, "n h w 1024"], batch_statistics: bool = False
    ) -> Float[Array, "n h w 2048"]:
        return _run(self.stage4, level3, batch_statistics)


def _run(layers: Sequence[nn.Module], x: Array, batch_statistics: bool) -> Array:
    for layer in layers:
        x = layer(x, batch_statistics)
    return x
