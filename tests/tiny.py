"""A network of the real parts that compiles in seconds, and random episodes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, create_model, get_config
from mmnet_jax.config import apply, resolve
from mmnet_jax.config.values import objective, sgd
from mmnet_jax.features.source import ImageEncoder
from mmnet_jax.models.backbones import BACKBONES
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.training.step import update_fn

EVERY_BACKBONE = [pytest.param(name, marks=pytest.mark.slow) if "101" in name else name for name in BACKBONES]
"""ResNet-101s, which differ from ResNet-50s only in depth, are slow tests."""


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
    """Random images; about 40% foreground in the supports, whose first rows are ignored."""
    keys = jax.random.split(jax.random.key(seed), 4)
    labels = jax.random.uniform(keys[2], (batch, shots, size, size))
    return Episode(
        query_image=jax.random.normal(keys[0], (batch, size, size, 3)),
        support_images=jax.random.normal(keys[1], (batch, shots, size, size, 3)),
        support_labels=(labels > 0.6).astype(jnp.int32).at[:, :, :4].set(255),
        query_label=(jax.random.uniform(keys[3], (batch, size, size)) > 0.5).astype(jnp.int32),
    )


def no_dropout(function):
    """The update without dropout, which would differ between splits of a batch."""

    def interceptor(call, arguments, keywords, context):
        return arguments[0] if isinstance(context.module, nn.Dropout) else call(*arguments, **keywords)

    def wrapped(*arguments):
        with nn.intercept_methods(interceptor):
            return function(*arguments)

    return wrapped


def segment_both_ways(model, variables, apply, shots):
    """Predictions of two queries: with a support encoded once, and by ``apply`` on one episode each."""
    support = draw_episode(1, shots, 33)
    queries = jax.random.normal(jax.random.key(9), (2, 33, 33, 3))

    @jax.jit
    def encoded_once(variables):
        state = model.apply(variables, support.support_images[0], support.support_labels[0], method="encode_support")
        return model.apply(variables, queries, state, method="segment")

    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, *x.shape[1:])), support)
    return encoded_once(variables), apply(repeated.replace(query_image=queries))


def assert_trees_close(ours, theirs, tolerance=2e-5):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * (1 + float(jnp.abs(y).max(initial=0))))


def training_step(config, model, variables, steps=10):
    """The first state of a training and its compiled update, without dropout."""
    optimizer = create_optimizer(sgd(config, steps))
    update = update_fn(model, ImageEncoder(config.data.image_size), optimizer, objective(config))
    return create_state(variables, optimizer, config.model.batch_norm == "batch"), jax.jit(no_dropout(update))
