"""A network small enough to compile in a moment, made of the real parts."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmnet_jax import Episode
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.backbones.tiny import Tiny
from mmnet_jax.models.heads.mmnet import MMNet
from mmnet_jax.models.registry import init_head, nest_backbone


def tiny_backbone_variables(seed=0):
    return random_variables("tiny", seed)


def tiny_network(reading="paper", seed=0):
    """(model, variables) with 7 embeddings of 16 channels and two bins."""
    released = reading == "released"
    model = MMNet(
        backbone=Tiny(),
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
