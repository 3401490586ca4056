from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.training.state import create_optimizer, create_state, learning_rate
from mmnet_jax.training.step import data_mesh, train_step, update_fn
from tests.tiny import draw_episode, no_dropout, tiny_network


def tiny_config(reading="paper", **training):
    config = get_config(reading)
    config.data.image_size = 65
    config.model.memory_size = 7
    config.model.channels = 16
    config.model.bins = (1.0, 0.5)
    config.training.update(training)
    return resolve(config)


def start(config, reading="paper", steps=10):
    model, variables = tiny_network(reading)
    optimizer = create_optimizer(config, steps)
    return model.clone(dropout=0.0), optimizer, create_state(variables, optimizer, config), variables


def uneven_episode(batch):
    """Episodes whose ignored areas differ, so that a mean of means would be wrong."""
    episode = draw_episode(batch, 1)
    rows = jnp.arange(65)[None, :, None] < (10 * jnp.arange(batch) % 60)[:, None, None]
    return episode.replace(query_label=jnp.where(rows, 255, episode.query_label))


def close(a, b, tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance * float(jnp.abs(y).max()) + 1e-8), a, b)


def test_the_learning_rate_decays_polynomially_from_its_first_step():
    schedule = learning_rate(tiny_config(), 10)
    np.testing.assert_allclose([schedule(0), schedule(9)], [0.025 * 0.9**0.9, 0], rtol=1e-6, atol=1e-12)


def test_sgd_worked_by_hand():
    # g = 1, weight decay 0.1: d1 = 1 + 0.1 * 2 = 1.2; p1 = 2 - lr0 * 1.2; d2 = 0.9 * 1.2 + 1 + 0.1 p1; ...
    config = tiny_config()
    config.optimizer.weight_decay = 0.1
    optimizer = create_optimizer(config, 4)
    params = {"w": jnp.array(2.0)}
    state = optimizer.init(params)
    rates = [0.025 * (1 - (i + 1) / 4) ** 0.9 for i in range(2)]
    d1 = 1 + 0.1 * 2.0
    p1 = 2.0 - rates[0] * d1
    p2 = p1 - rates[1] * (0.9 * d1 + 1 + 0.1 * p1)
    for expected in (p1, p2):
        updates, state = optimizer.update({"w": jnp.array(1.0)}, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params["w"], expected, rtol=1e-6)


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_eight_devices_compute_what_one_does(reading):
    config = tiny_config(reading, batch_size=8)
    model, optimizer, state, frozen = start(config, reading)
    episode = uneven_episode(8)
    update = jax.jit(no_dropout(update_fn(model, optimizer, config)))
    one, losses = update(state, frozen, episode, jax.random.key(0))

    mesh = data_mesh(8)
    assert mesh.size == 8
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    placed = [jax.device_put(x, s) for x, s in [(state, everywhere), (frozen, everywhere), (episode, split)]]
    eight, sharded = update(*placed, jax.device_put(jax.random.key(0), everywhere))
    close(sharded, losses, 1e-5)
    close(eight.params, one.params, 1e-5)
    close(eight.batch_stats, one.batch_stats, 1e-5)
    assert bool(one.batch_stats) == (reading == "released")


def test_accumulation_over_parts_equals_the_whole_batch():
    episode, key = uneven_episode(4), jax.random.key(0)
    results = []
    for parts in (1, 2):
        config = tiny_config(accumulate=parts)
        model, optimizer, state, frozen = start(config)
        results.append(jax.jit(no_dropout(update_fn(model, optimizer, config)))(state, frozen, episode, key))
    (whole, losses), (parted, summed) = results
    close(summed, losses, 1e-5)
    close(parted.params, whole.params, 1e-5)


def test_the_compiled_step_donates_its_state_and_trains_only_the_head():
    config = tiny_config()
    model, optimizer, state, frozen = start(config)
    draw = np.random.default_rng(0)
    raw = RawEpisodes(
        query_image=draw.integers(0, 256, (4, 80, 80, 3), np.uint8),
        query_label=draw.integers(0, 2, (4, 80, 80)).astype(np.uint8),
        query_size=np.full((4, 2), 80, np.int32),
        support_images=draw.integers(0, 256, (4, 1, 80, 80, 3), np.uint8),
        support_labels=draw.integers(0, 2, (4, 1, 80, 80)).astype(np.uint8),
        support_sizes=np.full((4, 1, 2), 80, np.int32),
    )
    mesh = data_mesh(4)
    assert mesh.size == 4
    everywhere = NamedSharding(mesh, PartitionSpec())
    state, frozen = jax.device_put((state, frozen), everywhere)
    before = jax.tree.map(np.array, state.params)
    step = train_step(model, optimizer, config, mesh)
    after, losses = step(state, frozen, raw, jax.device_put(jax.random.key(0), everywhere))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert int(after.step) == 1 and np.isfinite(losses.total)
    assert all(
        not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(before), strict=True)
    )
    assert after.batch_stats == {}
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(after))
    again, _ = step(jax.device_put(after, everywhere), frozen, raw, jax.device_put(jax.random.key(0), everywhere))
    assert int(again.step) == 2
