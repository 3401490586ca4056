"""A backbone with a linear layer on top: what it is pretrained as."""

from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmnet_jax.models.backbones import create_backbone, random_variables
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.backbones.efficientnet_lite import HEAD, Conv, EfficientNetLite2
from mmnet_jax.models.backbones.frozen import FrozenConv, he_deviation

CLASSIFYING_STRIDE = 32
_NEUTRAL = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "var": 1.0}


class Classifier(nn.Module):
    """Level 4, averaged over the image, and a linear layer.

    The backbone's tensors stay in their collections, ``backbone`` and ``batch_stats``, under the name ``backbone``;
    the linear layer's are ``params``.
    """

    backbone: Backbone
    classes: int
    head: FrozenConv | None = None  # a convolution before the average, where the original network has one

    @nn.compact
    def __call__(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Float[Array, "n classes"]:
        """Logits; images RGB, normalised by the ImageNet mean and standard deviation."""
        x = self.backbone(images, batch_statistics)["level4"]
        if self.head is not None:
            x = self.head(x, batch_statistics)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.classes, kernel_init=nn.initializers.zeros, name="linear")(x)


def create_classifier(name: str, classes: int) -> Classifier:
    """The classifier of backbone ``name``, without its variables."""
    backbone = create_backbone(name).clone(output_stride=CLASSIFYING_STRIDE)
    head = Conv(HEAD, activation=nn.relu6) if isinstance(backbone, EfficientNetLite2) else None
    return Classifier(backbone, classes, head)


def untrained_variables(name: str, classes: int, seed: int) -> dict[str, Any]:
    """Variables of ``create_classifier(name, classes)``: random kernels, and a linear layer of zeros."""
    init = create_classifier(name, classes).init
    side = 2 * CLASSIFYING_STRIDE
    shapes = flax.traverse_util.flatten_dict(jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, side, side, 3))))
    own = {collection: {"backbone": tree} for collection, tree in random_variables(name, seed).items()}
    flat = flax.traverse_util.flatten_dict(own)
    generator = np.random.default_rng((seed, 1))
    for path, leaf in shapes.items():
        if path in flat:
            continue
        collection, tensor = path[0], path[-1]
        if collection == "params":
            flat[path] = np.zeros(leaf.shape, np.float32)
        elif tensor == "kernel":
            flat[path] = generator.standard_normal(leaf.shape, np.float32) * np.float32(he_deviation(leaf.shape))
        else:
            flat[path] = np.full(leaf.shape, _NEUTRAL[tensor], np.float32)
    return {"batch_stats": {}} | flax.traverse_util.unflatten_dict(flat)
