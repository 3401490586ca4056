from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model, get_config, losses
from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings, objective
from mmnet_jax.errors import UserError
from mmnet_jax.models.heads import variants
from mmnet_jax.models.registry import build_model, init_head
from tests.tiny import assert_trees_close as close, draw_episode, segment_both_ways, tiny_config, tiny_network

SIZE, BATCH, SHOTS = 33, 2, 3
READINGS = ["paper", "released"]


@cache
def network(reading="paper"):
    return tiny_network(reading)


@cache
def apply(reading="paper", **changes):
    """The compiled network, for episodes of one shape."""
    model, variables = network(reading)
    return partial(jax.jit(model.clone(**changes).apply), variables)


@cache
def train(reading):
    """The compiled network in training mode; takes a dropout seed and returns the statistics too."""
    model, variables = network(reading)
    run = partial(model.apply, variables, train=True, mutable=["batch_stats"])
    return jax.jit(lambda episode, seed: run(episode, rngs={"dropout": jax.random.key(seed)}))


def episode(seed=0):
    return draw_episode(BATCH, SHOTS, SIZE, seed)


def test_shapes_of_a_prediction():
    prediction = apply()(episode())
    assert prediction.logits.shape == (2, 33, 33, 2)
    assert prediction.activations.shape == prediction.fused.shape == (2, 5, 5, 7)
    assert prediction.confidence.shape == (2, 5, 5)
    assert prediction.shot_weights.shape == (2, 3, 5, 5)
    assert [logits.shape for logits in prediction.auxiliary_logits] == [(2, 5, 5, 2), (2, 2, 2, 2)]
    np.testing.assert_allclose(prediction.shot_weights.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("reading", ["paper", pytest.param("released", marks=pytest.mark.slow)])
def test_a_support_encoded_once_and_sequential_images_equal_whole_episodes(reading):
    close(*segment_both_ways(*network(reading), apply(reading), SHOTS))
    close(apply(reading, sequential=True)(episode()), apply(reading)(episode()))


def test_episodes_of_a_batch_are_independent():
    mixed = jax.tree.map(lambda x, y: jnp.stack([x[0], y[1]]), episode(), episode(seed=1))
    for batch, kept in ((episode(), slice(0, 1)), (episode(seed=1), slice(1, 2))):
        close(*(jax.tree.map(lambda x, s=kept: x[s], apply()(each)) for each in (mixed, batch)))


def test_the_order_of_shots_matters_only_in_the_released_reading():
    order = jnp.array([2, 0, 1])
    images, labels = episode().support_images[:, order], episode().support_labels[:, order]
    permuted = episode().replace(support_images=images, support_labels=labels)
    for reading, same in [("paper", True), ("released", False)]:
        assert np.allclose(apply(reading)(episode()).fused, apply(reading)(permuted).fused, atol=1e-5) == same


def loss(params, episode, reading="paper"):
    model, variables = network(reading)
    prediction = model.apply({**variables, "params": params}, episode)
    return losses.compute_losses(prediction, episode.query_label, objective(tiny_config(reading))).total, prediction


@cache
def gradient(reading):
    function = jax.jit(jax.grad(partial(loss, reading=reading), has_aux=True))
    return partial(function, network(reading)[1]["params"])


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("empty", [(0,), (0, 1, 2)])
def test_supports_without_foreground_give_finite_outputs_and_gradients(reading, empty):
    labels = episode().support_labels.at[:, jnp.array(empty)].set(0)
    gradients, prediction = gradient(reading)(episode().replace(support_labels=labels))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradients, prediction)))
    assert bool(prediction.fused.any()) == bool(prediction.confidence.any()) == (len(empty) < SHOTS)
    if len(empty) < SHOTS:
        np.testing.assert_array_equal(prediction.shot_weights[:, 0], 0)


def test_quality_divided_by_area_balances_the_weights():
    labels = jnp.zeros((BATCH, SHOTS, SIZE, SIZE), int).at[:, 0].set(1).at[:, 1, 10:26, 10:26].set(1)
    as_written, normalised = (
        run(episode().replace(support_labels=labels)).shot_weights
        for run in (apply(), apply(shot_quality=variants.mean_quality))
    )
    assert float(as_written[:, 0].min()) > 0.99  # the largest foreground takes all
    assert 0.4 < float(normalised[:, 0].mean()) < 0.6


def test_dropout_is_on_only_in_training_and_depends_on_its_key():
    still = apply()(episode()).logits
    first, again, other = (train("paper")(episode(), seed)[0].logits for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other) and not np.allclose(first, still)


@pytest.mark.parametrize("reading", READINGS)
def test_running_statistics_move_only_in_the_released_training_mode(reading):
    _, changed = train(reading)(episode(), 0)
    same = jax.tree.leaves(jax.tree.map(np.array_equal, changed["batch_stats"], network(reading)[1]["batch_stats"]))
    assert not any(same) and len(same) == (10 if reading == "released" else 0)  # the others are part of the kernels


def test_trained_parameters_do_not_include_the_backbone():
    paper, released = (network(reading)[1]["params"] for reading in READINGS)
    assert sorted(paper) == ["fem", "memory", "projection"] and paper["memory"].shape == (7, 16)
    assert sorted(released) == ["fem", "memory", "projection", "support_projection"]


def test_the_head_is_initialised_as_in_pytorch():
    params = init_head(build_model(network_settings(resolve(get_config()))), seed=3)
    assert abs(float(params["memory"].std()) - 1) < 0.02
    for kernel, fan_in in [
        (params["projection"]["kernel"], 9 * 1536),
        (params["fem"]["classifier"]["output"]["kernel"], 256),
        (params["fem"]["classifier"]["output"]["bias"], 256),
    ]:
        bound = fan_in**-0.5
        assert 0.5 * bound < float(jnp.abs(kernel).max()) <= bound
        if kernel.size > 100:
            assert abs(float(kernel.std()) / (bound / 3**0.5) - 1) < 0.1


def test_a_model_without_weights_is_refused():
    with pytest.raises(UserError, match=r"model\.weights is not set"):
        create_model(get_config())


def test_the_seed_determines_the_parameters():
    memory = lambda seed: create_model(tiny_config(), seed)[1]["params"]["memory"]  # noqa: E731
    np.testing.assert_array_equal(memory(1), memory(1))
    assert not np.array_equal(memory(1), memory(2))


@pytest.mark.slow
def test_memory_of_a_training_step_does_not_grow_with_the_pairs_of_positions():
    def temporaries(size):
        episode = jax.eval_shape(partial(draw_episode, 1, 5, size))
        gradient = jax.jit(jax.grad(lambda *a: loss(*a)[0]))
        compiled = gradient.lower(network()[1]["params"], episode).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(473) < 2.4 * temporaries(321)
