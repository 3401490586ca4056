"""Every row of the paper's tables trains, evaluates and restores its checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model, load_model
from mmnet_jax.config import apply, recipe_rows
from mmnet_jax.config.values import network_settings, objective, sgd
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.pixel_counts import count_pixels, predicted_foreground
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.features.source import ImageEncoder
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.training.state import create_optimizer, create_state, state_variables
from mmnet_jax.training.step import update_fn
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.tiny import draw_episode, tiny_network
from tests.training.tiny_training import tiny_config, tiny_dataset

ROWS = {name: row.fields for name, row in recipe_rows("ablations").items() if row.fields.keys() - {"shots"}}
ROWS["pfenet"] = recipe_rows("pfenet")["pascal_1shot"].fields


def configured(name, shots):
    config = apply(tiny_config(), {**ROWS[name], "shots": shots})
    config.model.bins = (1.0,)
    return config


def row_update(config, model):
    optimizer = create_optimizer(sgd(config, 8))
    return optimizer, update_fn(model, ImageEncoder(config.data.image_size), optimizer, objective(config))


@pytest.mark.parametrize("name", ROWS)
def test_an_update_of_a_row_keeps_the_shapes_of_its_state_and_returns_its_losses(name):
    """Rows are only traced, with one shot; the tests of their parts check the numbers."""
    config = configured(name, 1)
    model = build_model(network_settings(config))
    optimizer, update = row_update(config, model)
    _, variables = tiny_network()

    def step(key):
        state = create_state(variables | {"params": init_head(model, 0)}, optimizer, config.model.batch_norm == "batch")
        after, losses = update(state, variables, draw_episode(2, 1, config.data.image_size), key)
        return state, after, losses.by_name()

    before, after, losses = jax.eval_shape(step, jax.eval_shape(jax.random.key, 0))
    assert after == before
    wanted = {"main", "auxiliary", "total"} | ({"reconstruction"} if config.loss.reconstruction_on != "none" else set())
    assert set(losses) >= wanted and all(x.dtype == jnp.float32 and not x.shape for x in losses.values())


DAILY = [("fcm_only", 2), ("pfenet", 1)]
SLOW = [pytest.param(name, 2, marks=pytest.mark.slow) for name in ROWS if name != "fcm_only"]


@pytest.mark.parametrize(("name", "shots"), DAILY + SLOW)
def test_a_row_trains_and_its_checkpoint_predicts_what_the_trained_network_does(name, shots, tmp_path):
    config = configured(name, shots)
    workdir = Workdir(tmp_path / "run")
    workdir.create(config)
    model, variables = create_model(config, config.seed)
    optimizer, update = row_update(config, model)
    state, update = create_state(variables, optimizer, config.model.batch_norm == "batch"), jax.jit(update)
    episode = draw_episode(2, shots, config.data.image_size)
    for step in range(2):
        state, losses = update(state, variables, episode, jax.random.key(step))
        assert np.isfinite(losses.total)
    with Checkpoints(workdir.checkpoints, config) as checkpoints:
        checkpoints.save(state, None)

    @jax.jit
    def count(variables):
        side = episode.query_label.shape[1]
        logits = model.apply(variables, episode).logits
        return count_pixels(predicted_foreground(logits, jnp.full(2, side), side), episode.query_label)

    loaded_model, loaded, _ = load_model(workdir.path, "latest")
    assert loaded_model == model
    jax.tree.map(np.testing.assert_array_equal, loaded["params"], state.params)
    jax.tree.map(np.testing.assert_array_equal, count(loaded), count(state_variables(state, variables)))
    for before, after in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(loaded["params"]), strict=True):
        assert not np.array_equal(before, after)


OTHER = [pytest.param(name, marks=pytest.mark.slow) for name in ("mmm_2_and_3", "attention", "pfenet")]


@pytest.mark.parametrize("name", ["fcm_only", *OTHER])
def test_a_row_without_memory_or_with_two_is_evaluated_with_baselines_and_a_sheet(name):
    config = configured(name, 1)
    model, variables = create_model(config)
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config, episodes=4)
    result = evaluate(model, variables, config, dataset, manifest, baselines=True, samples=2)
    assert 0 <= result.scores.miou <= 100 and set(result.baselines) == {"untrained", "confidence"}
    shown = {"mmm_2_and_3": 3, "attention": 3}.get(name, 0)
    assert [len(sample.activations) for sample in result.samples] == 2 * [shown]
    sheet = episode_sheet(result, dataset)
    assert np.asarray(sheet).std() > 0
