"""EfficientNet-Lite2: inverted residual blocks with ReLU6, without squeeze and excitation.

As a backbone its stride-16 and stride-32 stages stay on the stride-8 grid: a block that loses its stride keeps the
dilation before it, and the blocks after it double it. Padding is TensorFlow's SAME for the actual input size.
"""

from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmnet_jax.episode import IMAGENET_MEAN, IMAGENET_STD
from mmnet_jax.models.backbones.backbone import Layers, StagedBackbone
from mmnet_jax.models.backbones.frozen import FrozenConv


class Block(NamedTuple):
    """One inverted residual block with its stride and dilation."""

    kernel_size: int
    stride: int
    dilation: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    (1, Block(3, 1, 1, 1, 16)),
    (3, Block(3, 2, 1, 6, 24)),
    (3, Block(5, 2, 1, 6, 48)),
    (4, Block(3, 2, 1, 6, 88)),
    (4, Block(5, 1, 1, 6, 120)),
    (5, Block(5, 2, 1, 6, 208)),
    (1, Block(3, 1, 1, 6, 352)),
)
"""Number of blocks in each stage of the classifier, and its first block; the others have stride 1."""
LEVEL_STAGES = (3, 5, 7)  # stages after which levels 2, 3 and 4 are taken
HEAD = 1280
EPSILON = 1e-3
Conv = partial(FrozenConv, padding="same", epsilon=EPSILON, momentum=0.01)


def plan_blocks(output_stride: int) -> list[Block]:
    """All blocks, with strides and dilations for a network stride of at most ``output_stride``."""
    blocks, stride, dilation = [], 2, 1
    for count, first in STAGES:
        keeps = stride * first.stride <= output_stride
        blocks.append(first._replace(stride=first.stride if keeps else 1, dilation=dilation))
        stride, dilation = (stride * first.stride, dilation) if keeps else (stride, dilation * first.stride)
        blocks += (count - 1) * [first._replace(stride=1, dilation=dilation)]
    return blocks


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added where the shape allows it."""

    block: Block

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], batch_statistics: bool = False) -> Float[Array, "n h_out w_out o"]:
        kernel_size, stride, dilation, expansion, channels = self.block
        inputs = x.shape[-1]
        hidden = expansion * inputs
        y = x
        if expansion != 1:
            y = Conv(hidden, activation=nn.relu6, name="expand")(y, batch_statistics)
        depthwise = Conv(hidden, kernel_size, stride, dilation, depthwise=True, activation=nn.relu6, name="depthwise")
        y = depthwise(y, batch_statistics)
        y = Conv(channels, activation=None, name="project")(y, batch_statistics)
        return x + y if stride == 1 and inputs == channels else y


class EfficientNetLite2(StagedBackbone):
    """EfficientNet-Lite2's features."""

    EPSILON: ClassVar[float] = EPSILON

    def setup(self) -> None:
        self.stem = Conv(STEM, 3, 2, activation=nn.relu6)
        self.blocks = [InvertedResidual(block) for block in plan_blocks(self.output_stride)]

    @property
    def channels(self) -> dict[str, int]:
        return {f"level{i}": STAGES[stage - 1][1].channels for i, stage in enumerate(LEVEL_STAGES, start=2)}

    @property
    def stages(self) -> tuple[Layers, Layers, Layers]:
        level2, level3, _ = (sum(count for count, _ in STAGES[:n]) for n in LEVEL_STAGES)
        first: Layers = [_own_normalisation, self.stem, *self.blocks[:level2]]
        return first, self.blocks[level2:level3], self.blocks[level3:]


def _own_normalisation(images: Float[Array, "n s s 3"], batch_statistics: bool) -> Float[Array, "n s s 3"]:
    """From ImageNet's mean and deviation to this network's (x - 127) / 128, x in [0, 255]."""
    gain = jnp.asarray(IMAGENET_STD, jnp.float32) * (255 / 128)
    offset = (jnp.asarray(IMAGENET_MEAN, jnp.float32) * 255 - 127) / 128
    return images * gain[None, None, None, :] + offset[None, None, None, :]
