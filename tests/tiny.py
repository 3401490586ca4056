"""A network small enough to compile in a moment, made of the real parts."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmnet_jax import Episode
from mmnet_jax.models.backbones import Backbone, FrozenConv
from mmnet_jax.models.heads.mmnet import MMNet
from mmnet_jax.models.registry import init_head, nest_backbone


class TinyBackbone(Backbone):
    """Three convolutions to the stride-8 grid, one more for level 3 and for level 4."""

    @property
    def channels(self):
        return 8, 12, 16

    def setup(self):
        self.stem = [FrozenConv(8, 3, stride=2) for _ in range(3)]
        self.stage3 = FrozenConv(12, 3)
        self.stage4 = FrozenConv(16, 3)

    def mid_levels(self, images, batch_statistics=False):
        level2 = images
        for convolution in self.stem:
            level2 = convolution(level2, batch_statistics)
        return level2, self.stage3(level2, batch_statistics)

    def high_level(self, level3, batch_statistics=False):
        return self.stage4(level3, batch_statistics)


def tiny_backbone_variables(seed=0):
    variables = TinyBackbone().init(jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    leaves, tree = jax.tree.flatten(variables["backbone"])
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [0.3 * jax.random.normal(k, x.shape) if x.ndim == 4 else x for k, x in zip(keys, leaves, strict=True)]
    return {**variables, "backbone": jax.tree.unflatten(tree, drawn)}


def tiny_network(reading="paper", seed=0):
    """(model, variables) with 7 embeddings of 16 channels and two bins."""
    released = reading == "released"
    model = MMNet(
        backbone=TinyBackbone(),
        memory_size=7,
        channels=16,
        bins=(1.0, 0.5),
        projection_kernel=1 if released else 3,
        projection_shared=not released,
        cosine_on="logits" if released else "activations",
        support_level4="masked_twice" if released else "masked",
        shot_mask="last" if released else "own",
        batch_norm="batch" if released else "frozen",
    )
    return model, {"params": init_head(model, seed), **nest_backbone(tiny_backbone_variables())}


def draw_episode(batch=2, shots=1, size=65, seed=0):
    """Random images; about 40% foreground in the supports, their first rows unknown."""
    keys = jax.random.split(jax.random.key(seed), 4)
    labels = jax.random.uniform(keys[2], (batch, shots, size, size))
    return Episode(
        query_image=jax.random.normal(keys[0], (batch, size, size, 3)),
        support_images=jax.random.normal(keys[1], (batch, shots, size, size, 3)),
        support_labels=(labels > 0.6).astype(jnp.int32).at[:, :, :4].set(255),
        query_label=(jax.random.uniform(keys[3], (batch, size, size)) > 0.5).astype(jnp.int32),
    )


def no_dropout(function):
    """The update with the classifiers' dropout taken out, which would differ between splits of a batch."""

    def interceptor(call, arguments, keywords, context):
        return arguments[0] if isinstance(context.module, nn.Dropout) else call(*arguments, **keywords)

    def wrapped(*arguments):
        with nn.intercept_methods(interceptor):
            return function(*arguments)

    return wrapped
