"""ResNets with bottleneck blocks, dilated so that stages 2, 3 and 4 share the stride-8 grid.

Stages 3 and 4 have stride 1 and dilate the 3x3 convolutions of all their blocks by 2 and 4. A stage's stride is on its
first 3x3 convolution, as in torchvision. ``v2`` in a name means PFENet's deep stem of three 3x3 convolutions: neither
pre-activation nor torchvision's IMAGENET1K_V2 weights.
"""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from mmnet_jax.models.backbones.backbone import Layers, StagedBackbone
from mmnet_jax.models.backbones.convolution import max_pool_3x3
from mmnet_jax.models.backbones.frozen import FrozenConv

STRIDES = (1, 2, 2, 2)  # strides of the four stages in the classifier
STEM_STRIDE = 4
EXPANSION = 4


def plan_stages(width: int, output_stride: int) -> list[tuple[int, int, int]]:
    """(width, stride, dilation) of each stage, for a network stride of at most ``output_stride``."""
    stages, total, dilation = [], STEM_STRIDE, 1
    for i, stride in enumerate(STRIDES):
        if total * stride > output_stride:
            stride, dilation = 1, dilation * stride
        total *= stride
        stages.append((width * 2**i, stride, dilation))
    return stages


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a residual connection, projected where the shape changes."""

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


class ResNet(StagedBackbone):
    """A ResNet with ``depths`` blocks per stage; ``width`` is that of the stem (7x7 or deep) and of the first stage."""

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    deep_stem: bool = False
    width: int = 64

    def setup(self) -> None:
        deep: list[Any] = [(self.width, 3, 2), (self.width, 3), (2 * self.width, 3)]
        self.stem = [FrozenConv(*layer) for layer in (deep if self.deep_stem else [(self.width, 7, 2)])]
        plan = zip(self.depths, plan_stages(self.width, self.output_stride), strict=True)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            [Bottleneck(width, 1 if i else stride, dilation, project=not i) for i in range(depth)]
            for depth, (width, stride, dilation) in plan
        )

    @property
    def channels(self) -> dict[str, int]:
        return {"level2": 8 * self.width, "level3": 16 * self.width, "level4": 32 * self.width}

    @property
    def stages(self) -> tuple[Layers, Layers, Layers]:
        return [*self.stem, lambda x, _: max_pool_3x3(x), *self.stage1, *self.stage2], self.stage3, self.stage4
