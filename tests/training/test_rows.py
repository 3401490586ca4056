"""Every row of the paper's tables trains, evaluates, and comes back from its checkpoint, with 1 and with K shots."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mmnet_jax import create_model, load_model
from mmnet_jax.config import apply, recipe_rows
from mmnet_jax.evaluation.pixel_counts import count_pixels, predicted_foreground
from mmnet_jax.evaluation.protocols import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.training.state import create_optimizer, create_state, state_variables
from mmnet_jax.training.step import update_fn
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.tiny import draw_episode
from tests.training.tiny_training import tiny_config, tiny_dataset, tiny_library

ROWS = {name: row.fields for name, row in recipe_rows("ablations").items() if row.fields.keys() - {"shots"}}
ROWS["pfenet"] = recipe_rows("pfenet")["pascal_1shot"].fields
KINDS = ("fcm_only", "mmm_2_and_3", "attention", "pfenet")
"""Rows with another tree of parameters, or none of some."""
ONE_SHOT = [pytest.param(name, 1, marks=() if name in KINDS else pytest.mark.slow) for name in ROWS]


@pytest.fixture(autouse=True)
def tiny():
    with tiny_library():
        yield


@pytest.mark.parametrize(("name", "shots"), [(name, 2) for name in ROWS] + ONE_SHOT)
def test_a_row_trains_and_its_checkpoint_counts_what_the_trained_network_counts(name, shots, tmp_path):
    config = apply(tiny_config(), {**ROWS[name], "shots": shots})
    config.model.bins = (1.0,)
    workdir = Workdir(tmp_path / "run")
    workdir.create(config)
    model, variables = create_model(config, config.seed)
    optimizer = create_optimizer(config, steps=8)
    state = create_state(variables, optimizer, config)
    update = jax.jit(update_fn(model, optimizer, config))
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
        sides = np.full(2, side)
        return count_pixels(predicted_foreground(logits, sides, side), episode.query_label)

    loaded_model, loaded, _ = load_model(workdir.path, "latest")
    assert loaded_model == model
    jax.tree.map(np.testing.assert_array_equal, loaded["params"], state.params)
    jax.tree.map(np.testing.assert_array_equal, count(loaded), count(state_variables(state, variables)))
    for before, after in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(loaded["params"]), strict=True):
        assert not np.array_equal(before, after)


@pytest.mark.parametrize("name", KINDS)
def test_a_row_without_memory_or_with_two_is_evaluated_with_baselines_and_pictures(name):
    config = apply(tiny_config(), {**ROWS[name], "shots": 1, "model.bins": (1.0,)})
    model, variables = create_model(config)
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config, episodes=4)
    result = evaluate(model, variables, config, dataset, manifest, baselines=True, samples=2)
    assert 0 <= result.miou <= 100 and set(result.baselines) == {"untrained", "confidence"}
    shown = {"mmm_2_and_3": 3, "attention": 3}.get(name, 0)
    assert [len(sample.activations) for sample in result.samples] == 2 * [shown]
    sheet = episode_sheet(result, dataset)
    assert np.asarray(sheet).std() > 0
