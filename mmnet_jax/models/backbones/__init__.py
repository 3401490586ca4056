"""Frozen, ImageNet-pretrained feature extractors, by name."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.backbones.efficientnet_lite import EfficientNetLite2
from mmnet_jax.models.backbones.frozen import he_deviation
from mmnet_jax.models.backbones.resnet import ResNet
from mmnet_jax.models.backbones.tiny import Tiny
from mmnet_jax.models.backbones.vgg import VGG

BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet50": lambda: ResNet(depths=(3, 4, 6, 3)),
    "resnet50_v2": lambda: ResNet(depths=(3, 4, 6, 3), deep_stem=True),
    "resnet101": lambda: ResNet(depths=(3, 4, 23, 3)),
    "resnet101_v2": lambda: ResNet(depths=(3, 4, 23, 3), deep_stem=True),
    "vgg16": VGG,
    "vgg16_plain": lambda: VGG(batch_norm=False),
    "resnet14_half": lambda: ResNet(depths=(1, 1, 1, 1), width=32),
    "efficientnet_lite2": EfficientNetLite2,
    "tiny": Tiny,
}
"""Constructors by the value of ``model.backbone``."""


def create_backbone(name: str) -> Backbone:
    """The backbone called ``name``, without its weights; raises a ``UserError`` if there is none."""
    if name not in BACKBONES:
        raise UserError(f"unknown backbone {name}; there are {', '.join(BACKBONES)}.")
    return BACKBONES[name]()


def variable_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a backbone, by its path, as in ``backbone/stem_0/kernel``."""
    return _shapes(create_backbone(name))


def random_variables(name: str, seed: int = 0) -> dict[str, Any]:
    """Variables of an untrained backbone: normal kernels with He's standard deviation, neutral normalisation.

    Kernels are drawn by NumPy: ``init`` compiles a generator for each of them and takes ten times as long.
    """
    generator = np.random.default_rng(seed)
    normalisation = _normalisation(create_backbone(name))
    kernels = {
        path: generator.standard_normal(shape, np.float32) * np.float32(he_deviation(shape))
        for path, shape in variable_shapes(name).items()
        if path not in normalisation
    }
    return unflatten_variables(normalisation | kernels)


def unflatten_variables(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nests a backbone's tensors by path into its two collections, either of which may be empty."""
    return {"backbone": {}, "batch_stats": {}} | flax.traverse_util.unflatten_dict(flat, sep="/")


# cached by module rather than by name, since a name can be registered again for another backbone
@cache
def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    shapes = jax.eval_shape(lambda: _init(backbone, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in shapes.items()}


@cache
def _normalisation(backbone: Backbone) -> dict[str, np.ndarray]:
    """The variables that ``init`` returns, without the kernels, which jit then does not compute."""

    def compute(key: jax.Array) -> dict[str, jax.Array]:
        return {path: leaf for path, leaf in _init(backbone, key).items() if not path.endswith("/kernel")}

    return jax.device_get(jax.jit(compute)(jax.random.key(0)))


def _init(backbone: Backbone, key: jax.Array) -> dict[str, jax.Array]:
    side = 4 * backbone.SIDES[0] + backbone.SIDES[1]
    return flax.traverse_util.flatten_dict(backbone.init(key, jnp.zeros((1, side, side, 3), jnp.float32)), sep="/")
