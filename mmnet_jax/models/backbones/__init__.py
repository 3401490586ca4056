"""Frozen, ImageNet-pretrained feature extractors, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones.efficientnet_lite import EfficientNetLite2, EfficientNetLite2Classifier
from mmnet_jax.models.backbones.frozen import Backbone, FrozenConv, he_deviation
from mmnet_jax.models.backbones.resnet import ResNet
from mmnet_jax.models.backbones.vgg import VGG

__all__ = [
    "BACKBONES",
    "VGG",
    "Backbone",
    "EfficientNetLite2",
    "EfficientNetLite2Classifier",
    "FrozenConv",
    "ResNet",
    "create_backbone",
    "random_variables",
    "unflatten_variables",
    "variable_shapes",
]

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet50": lambda: ResNet(depths=(3, 4, 6, 3)),
    "resnet50_v2": lambda: ResNet(depths=(3, 4, 6, 3), deep_stem=True),
    "resnet101": lambda: ResNet(depths=(3, 4, 23, 3)),
    "resnet101_v2": lambda: ResNet(depths=(3, 4, 23, 3), deep_stem=True),
    "vgg16": VGG,
    "vgg16_plain": lambda: VGG(batch_norm=False),
    "resnet14_half": lambda: ResNet(depths=(1, 1, 1, 1), width=32),
    "efficientnet_lite2": EfficientNetLite2,
}


def create_backbone(name: str) -> Backbone:
    """The backbone called ``name``, without its weights.

    Raises:
      UserError: if there is no backbone of that name.
    """
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name}; there are {', '.join(BACKBONES)}.")
    return BACKBONES[name]()


@cache
def variable_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a backbone, by its path, as in ``backbone/stem_0/kernel``.

    Raises:
      UserError: if there is no backbone of that name.
    """
    shapes = jax.eval_shape(create_backbone(name).init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(shapes, sep="/").items()}


def random_variables(name: str, seed: int = 0) -> dict[str, Any]:
    """Variables of an untrained backbone: normal kernels of He's deviation, neutral normalisation.

    As ``init`` gives them, but drawn on the host, in a second: compiling a generator for every kernel takes ten.

    Raises:
      UserError: if there is no backbone of that name.
    """
    generator = np.random.default_rng(seed)
    flat = dict(_normalisation(name))
    for path, shape in variable_shapes(name).items():
        if path not in flat:
            flat[path] = generator.standard_normal(shape, np.float32) * np.float32(he_deviation(shape))
    return unflatten_variables(flat)


def unflatten_variables(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's variables, nested, from its tensors by path; both collections, though one may be empty."""
    return {"backbone": {}, "batch_stats": {}} | flax.traverse_util.unflatten_dict(flat, sep="/")


@cache
def _normalisation(name: str) -> dict[str, np.ndarray]:
    """What ``init`` gives besides the kernels, which jit then never computes."""
    init = create_backbone(name).init

    def compute(key: jax.Array) -> dict[str, jax.Array]:
        flat = flax.traverse_util.flatten_dict(init(key, jnp.zeros((1, 33, 33, 3))), sep="/")
        return {path: leaf for path, leaf in flat.items() if not path.endswith("/kernel")}

    return jax.device_get(jax.jit(compute)(jax.random.key(0)))
