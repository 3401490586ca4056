"""The classifier that pretrains a backbone: the backbone and a linear layer."""

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

STRIDE = 32
"""Output stride of a backbone as a classifier."""


class Classifier(nn.Module):
    """Level 4, averaged over the image, and a linear layer.

    The backbone's tensors stay in their collections, ``backbone`` and ``batch_stats``, under the name ``backbone``; the
    linear layer's are ``params``.
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
    backbone = create_backbone(name).clone(output_stride=STRIDE)
    head = Conv(HEAD, activation=nn.relu6) if isinstance(backbone, EfficientNetLite2) else None
    return Classifier(backbone, classes, head)


def untrained_variables(name: str, classes: int, seed: int) -> dict[str, Any]:
    """Variables of ``create_classifier(name, classes)``: random kernels, and a linear layer of zeros."""
    images = jnp.zeros((1, 2 * STRIDE, 2 * STRIDE, 3))
    shapes = jax.eval_shape(create_classifier(name, classes).init, jax.random.key(0), images)
    backbone = {collection: {"backbone": tree} for collection, tree in random_variables(name, seed).items()}
    drawn = flax.traverse_util.flatten_dict(backbone)
    generator = np.random.default_rng((seed, 1))

    def value(path: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        if path in drawn:
            return drawn[path]
        if path[0] != "params" and path[-1] == "kernel":
            return generator.standard_normal(shape, np.float32) * np.float32(he_deviation(shape))
        return np.full(shape, path[-1] in ("scale", "var"), np.float32)

    flat = {path: value(path, leaf.shape) for path, leaf in flax.traverse_util.flatten_dict(shapes).items()}
    return {"batch_stats": {}} | flax.traverse_util.unflatten_dict(flat)
