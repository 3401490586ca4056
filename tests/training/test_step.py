import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmnet_jax import create_model
from mmnet_jax.config.values import augmentation, objective, sgd
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.devices import data_mesh, describe_devices
from mmnet_jax.errors import UserError
from mmnet_jax.features.source import ImageEncoder
from mmnet_jax.training.state import SGD, create_optimizer, create_state, learning_rate
from mmnet_jax.training.step import train_step, update_fn
from tests.evaluation.conftest import SIDE as LARGEST
from tests.tiny import draw_episode, no_dropout
from tests.training.tiny_training import tiny_config

SIDE = 33


def start(config):
    """Model, optimiser, first state and frozen variables."""
    model, variables = create_model(config)
    optimizer = create_optimizer(sgd(config, config.training.steps))
    return model, optimizer, create_state(variables, optimizer, model.batch_statistics), variables


def uneven_episode(batch):
    """Episodes whose ignored areas differ, so that a mean of means is wrong."""
    episode = draw_episode(batch, 1, SIDE)
    rows = jnp.arange(SIDE)[None, :, None] < (5 * jnp.arange(batch) % 30)[:, None, None]
    return episode.replace(query_label=jnp.where(rows, 255, episode.query_label))


def close(a, b, tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance * float(jnp.abs(y).max()) + 1e-8), a, b)


def test_sgd_and_its_polynomial_decay_from_the_first_step_worked_by_hand():
    schedule = learning_rate(sgd(tiny_config(), 10))
    np.testing.assert_allclose([schedule(0), schedule(9)], [0.025 * 0.9**0.9, 0], rtol=1e-6, atol=1e-12)
    # g = 1, weight decay 0.1: d1 = 1 + 0.1 * 2 = 1.2; p1 = 2 - lr0 * 1.2; d2 = 0.9 * 1.2 + 1 + 0.1 p1; ...
    optimizer = create_optimizer(SGD(0.025, 0.9, 0.9, weight_decay=0.1, steps=4))
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


@pytest.mark.parametrize("reading", ["paper", pytest.param("released", marks=pytest.mark.slow)])
def test_eight_devices_and_an_accumulated_batch_equal_one_device(reading):
    config = tiny_config(reading)
    model, optimizer, state, frozen = start(config)
    arguments = model, ImageEncoder(SIDE), optimizer, objective(config)
    key, episode = jax.random.key(0), uneven_episode(8)
    update = jax.jit(no_dropout(update_fn(*arguments)))
    one, losses = update(state, frozen, episode, key)
    assert bool(one.batch_stats) == (reading == "released")

    mesh = data_mesh(8)
    assert mesh.size == 8
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    placed = [jax.device_put(x, s) for x, s in [(state, everywhere), (frozen, everywhere), (episode, split)]]
    results = [update(*placed, jax.device_put(key, everywhere))]
    if reading == "paper":  # accumulation is refused where statistics are of a batch
        results.append(jax.jit(no_dropout(update_fn(*arguments, accumulate=2)))(state, frozen, episode, key))
    for other, terms in results:
        close(terms, losses, 1e-5)
        close(other.params, one.params, 1e-5)
        close(other.batch_stats, one.batch_stats, 1e-5)


def test_idle_devices_are_named_and_refused_with_several_processes(monkeypatch):
    assert describe_devices(data_mesh(16)) == "8 cpu device(s)"
    assert describe_devices(data_mesh(7)) == "7 cpu device(s), since more do not divide the batch (idle: cpu:7)"
    assert describe_devices(data_mesh(4)).endswith("(idle: cpu:4, cpu:5, cpu:6, cpu:7)")
    assert describe_devices(data_mesh(3)).endswith("(idle: cpu:3, cpu:4, cpu:5, cpu:6 and 1 more)")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert data_mesh(16).size == 8
    refusal = r"batch_size = 12 cannot be split over the 8 devices of 2 processes: make it a multiple of 8, or start"
    with pytest.raises(UserError, match=refusal):
        data_mesh(12)


def test_the_compiled_step_donates_its_state_and_trains_only_the_head():
    config = tiny_config()
    model, _, state, frozen = start(config)
    draw = np.random.default_rng(0)
    raw = RawEpisodes(
        images=draw.integers(0, 256, (4, 2, LARGEST, LARGEST, 3), np.uint8),
        labels=draw.integers(0, 2, (4, 2, LARGEST, LARGEST)).astype(np.uint8),
        sizes=np.full((4, 2, 2), 40, np.int32),
    )
    mesh = data_mesh(4)
    assert mesh.size == 4
    everywhere = NamedSharding(mesh, PartitionSpec())
    state, frozen, key = jax.device_put((state, frozen, jax.random.key(0)), everywhere)
    before = jax.tree.map(np.array, state.params)
    arguments = model, ImageEncoder(SIDE, augmentation=augmentation(config)), sgd(config, 8), objective(config), 1, mesh
    step = train_step(*arguments)
    assert train_step(*arguments) is step
    after, losses = step(state, frozen, raw, key)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    assert int(after.step) == 1 and np.isfinite(losses.total) and after.batch_stats == {}
    assert not any(jax.tree.leaves(jax.tree.map(np.array_equal, after.params, before)))
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(after))
    batch = jax.device_put(raw, NamedSharding(mesh, PartitionSpec("data")))
    compiled = step._cache_size()
    with jax.transfer_guard("disallow"):  # a step takes nothing but a batch on the devices
        for _ in range(3):
            after, _ = step(after, frozen, batch, key)
    assert int(after.step) == 4 and step._cache_size() <= compiled + 1  # once for a batch on the devices
