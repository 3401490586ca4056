"""A network small enough to compile in a moment, made of the real parts."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmnet_jax import Episode, create_model, get_config
from mmnet_jax.config import apply, resolve


def tiny_config(reading="paper", size=33, **fields):
    """A config of the tiny network: 7 embeddings of 16 channels and two bins."""
    config = get_config(reading)
    config.data.image_size = size
    config.model.update(backbone="tiny", random_backbone=True, memory_size=7, channels=16, bins=(1.0, 0.5))
    return resolve(apply(config, fields))


def tiny_network(reading="paper", seed=0, **fields):
    """(model, variables) of ``tiny_config``."""
    return create_model(tiny_config(reading, **fields), seed)


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
