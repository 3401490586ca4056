"""The network in a program that enables double precision (``jax_enable_x64``)."""

import jax
import numpy as np
import pytest

from mmnet_jax import losses
from tests.tiny import draw_episode, tiny_config, tiny_network


def losses_and_gradients(episode, reading, **fields):
    """Variables, loss, prediction, losses and gradients of the tiny network."""
    config = tiny_config(reading, **fields)
    model, variables = tiny_network(reading, **fields)

    @jax.jit
    def run(variables):
        def total(params):
            prediction = model.apply({**variables, "params": params}, episode)
            terms = losses.episode_losses(prediction, episode, config)
            return terms.total, (prediction, terms)

        return jax.value_and_grad(total, has_aux=True)(variables["params"])

    return jax.tree.map(np.asarray, (variables, *run(variables)))


@pytest.mark.parametrize(
    ("reading", "fields"),
    [
        ("paper", {}),
        pytest.param("released", {}, marks=pytest.mark.slow),
        pytest.param("paper", {"model.network": "pfenet", "loss.reconstruction_on": "none"}, marks=pytest.mark.slow),
    ],
    ids=["paper", "released", "pfenet"],
)
def test_the_network_computes_the_same_in_float32(reading, fields):
    episode = draw_episode(1, 2, 33)
    expected = losses_and_gradients(episode, reading, **fields)
    with jax.enable_x64(True):
        there = losses_and_gradients(episode, reading, **fields)
    assert {leaf.dtype for leaf in jax.tree.leaves(there)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, there, expected)
