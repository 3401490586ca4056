from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, create_model, get_config, losses
from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.models.heads import variants
from tests.tiny import draw_episode, tiny_network

SIZE = 65


def small_config(reading="paper", shots=1):
    config = get_config(reading)
    config.model.backbone = "efficientnet_lite2"
    config.model.random_backbone = True
    config.model.memory_size = 7
    config.model.channels = 16
    config.data.image_size = SIZE
    config.shots = shots
    return resolve(config)


@cache
def network(reading="paper"):
    return tiny_network(reading)


def close(a, b, tolerance=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance * (1 + float(jnp.abs(y).max()))), a, b)


def test_shapes_of_a_prediction():
    model, variables = network()
    prediction = jax.jit(model.apply)(variables, draw_episode(2, 3))
    shapes = jax.tree.map(jnp.shape, prediction)
    assert shapes.logits == (2, 65, 65, 2)
    assert shapes.activations == shapes.fused == (2, 9, 9, 7)
    assert shapes.confidence == (2, 9, 9)
    assert shapes.shot_weights == (2, 3, 9, 9)
    assert shapes.auxiliary_logits == ((2, 9, 9, 2), (2, 4, 4, 2))
    np.testing.assert_allclose(prediction.shot_weights.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_encoding_the_support_once_gives_what_whole_episodes_give(reading):
    model, variables = network(reading)
    episode = draw_episode(1, 2)
    queries = jax.random.normal(jax.random.key(9), (3, SIZE, SIZE, 3))
    state = jax.jit(lambda v, *a: model.apply(v, *a, method="encode_support"))(
        variables, episode.support_images[0], episode.support_labels[0]
    )
    segmented = jax.jit(lambda v, *a: model.apply(v, *a, method="segment"))(variables, queries, state)
    repeat = lambda x: jnp.broadcast_to(x, (3, *x.shape[1:]))  # noqa: E731
    whole = Episode(queries, repeat(episode.support_images), repeat(episode.support_labels))
    close(segmented, jax.jit(model.apply)(variables, whole))


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_image_by_image_equals_all_at_once(reading):
    model, variables = network(reading)
    episode = draw_episode(2, 2)
    sequential = model.clone(sequential=True)
    close(jax.jit(sequential.apply)(variables, episode), jax.jit(model.apply)(variables, episode))


def test_episodes_of_a_batch_do_not_touch_each_other():
    model, variables = network()
    episode = draw_episode(2, 1)
    both = jax.jit(model.apply)(variables, episode)
    second = jax.jit(model.apply)(variables, jax.tree.map(lambda x: x[1:], episode))
    close(jax.tree.map(lambda x: x[1:], both), second)


def test_the_order_of_shots_does_not_matter_in_the_paper_and_does_in_the_release():
    episode, order = draw_episode(1, 3), jnp.array([2, 0, 1])
    permuted = episode.replace(
        support_images=episode.support_images[:, order], support_labels=episode.support_labels[:, order]
    )
    for reading, same in [("paper", True), ("released", False)]:
        model, variables = network(reading)
        apply = jax.jit(model.apply)
        a, b = apply(variables, episode).fused, apply(variables, permuted).fused
        assert np.allclose(a, b, atol=1e-5) == same


@pytest.mark.parametrize("reading", ["paper", "released"])
@pytest.mark.parametrize("empty", [(0,), (0, 1)])
def test_supports_without_foreground_give_finite_outputs_and_gradients(reading, empty):
    config, (model, variables) = small_config(reading, shots=2), network(reading)
    episode = draw_episode(1, 2)
    episode = episode.replace(support_labels=episode.support_labels.at[:, jnp.array(empty)].set(0))

    @jax.jit
    def run(params):
        prediction = model.apply({**variables, "params": params}, episode)
        return losses.episode_losses(prediction, episode, config).total, prediction

    gradients, prediction = jax.jit(jax.grad(run, has_aux=True))(variables["params"])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((gradients, prediction)))
    if empty == (0, 1):
        assert not prediction.fused.any() and not prediction.confidence.any()
    else:
        assert prediction.fused.any() and prediction.confidence.any()
    if empty == (0,):
        np.testing.assert_array_equal(prediction.shot_weights[:, 0], 0)


def test_normalising_quality_by_area_evens_the_weights():
    model, variables = network()
    episode = draw_episode(1, 2)
    labels = episode.support_labels.at[:, 0].set(1).at[:, 1].set(0).at[:, 1, 20:36, 20:36].set(1)
    episode = episode.replace(support_labels=labels)
    as_written = jax.jit(model.apply)(variables, episode).shot_weights
    normalised = jax.jit(model.clone(shot_quality=variants.mean_quality).apply)(variables, episode).shot_weights
    assert float(as_written[:, 0].min()) > 0.99  # the largest foreground takes all
    assert 0.4 < float(normalised[:, 0].mean()) < 0.6


def test_dropout_is_on_in_training_alone_and_follows_its_key():
    model, variables = network()
    episode = draw_episode(1, 1)
    apply = jax.jit(
        lambda seed: model.apply(variables, episode, train=True, rngs={"dropout": jax.random.key(seed)}).logits
    )
    still = jax.jit(model.apply)(variables, episode).logits
    np.testing.assert_array_equal(apply(0), apply(0))
    assert not np.allclose(apply(0), apply(1)) and not np.allclose(apply(0), still)


def test_running_statistics_move_in_the_released_training_mode_alone():
    episode = draw_episode(2, 1)
    rngs = {"dropout": jax.random.key(0)}
    for reading in ("paper", "released"):
        model, variables = network(reading)
        apply = jax.jit(lambda v, m=model: m.apply(v, episode, train=True, rngs=rngs, mutable=["batch_stats"]))
        _, changed = apply(variables)
        same = jax.tree.map(np.array_equal, changed["batch_stats"], variables["batch_stats"])
        assert len(jax.tree.leaves(same)) == 10
        assert not any(jax.tree.leaves(same)) if reading == "released" else all(jax.tree.leaves(same))


def test_trained_parameters_do_not_include_the_backbone():
    _, variables = network()
    assert sorted(variables["params"]) == ["fem", "memory", "projection"]
    assert variables["params"]["memory"].shape == (7, 16)
    assert sorted(network("released")[1]["params"]) == ["fem", "memory", "projection", "support_projection"]


def test_the_head_starts_as_pytorch_starts_it():
    config = get_config()
    config.model.random_backbone = True
    params = create_model(config, seed=3)[1]["params"]
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


def test_a_model_without_weights_is_refused_unless_asked_for():
    config = get_config()
    with pytest.raises(UserError, match=r"model\.weights is not set"):
        create_model(config)


def test_seeds_name_heads():
    config = small_config()
    memory = lambda seed: create_model(config, seed)[1]["params"]["memory"]  # noqa: E731
    np.testing.assert_array_equal(memory(1), memory(1))
    assert not np.array_equal(memory(1), memory(2))


def test_the_full_training_step_does_not_grow_with_the_pairs_of_positions():
    config, (model, variables) = small_config(shots=5), network()

    def temporaries(size):
        shape = jax.ShapeDtypeStruct
        episode = Episode(
            shape((1, size, size, 3), jnp.float32),
            shape((1, 5, size, size, 3), jnp.float32),
            shape((1, 5, size, size), jnp.int32),
            shape((1, size, size), jnp.int32),
        )

        def loss(params, episode):
            prediction = model.apply({**variables, "params": params}, episode)
            return losses.episode_losses(prediction, episode, config).total

        compiled = jax.jit(jax.grad(loss)).lower(variables["params"], episode).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporaries(473) < 2.4 * temporaries(321)
