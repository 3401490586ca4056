"""The training loop: log, checkpoints, resuming, and what is refused."""

import contextlib
import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.devices import data_mesh
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.features.source import image_source
from mmnet_jax.training import head, loop, stages
from mmnet_jax.training.loop import check_finite, finite_mean
from mmnet_jax.training.state import TrainState
from mmnet_jax.training.step import train_step
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_training import (
    STOPS,
    Crash,
    assert_close,
    assert_same_bits,
    final_parameters,
    records,
    tiny_config,
    tiny_dataset,
    train_tiny,
)


def test_a_training_leaves_a_workdir_that_loads(finished):
    model, variables, config = load_model(finished.workdir.path)
    assert config.fold == 1 and model.memory_size == 7
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))
    names = {".lock", "config.json", "backbone.safetensors", "checkpoints", "log", "results"}
    assert {path.name for path in finished.workdir.path.iterdir()} == names
    assert (finished.workdir.results / "training.png").stat().st_size > 1000
    assert any(re.search(r"step 8/8 +loss [\d.]+ \(main .* episodes/s  ETA 0m00s", line) for line in finished.lines)


def test_the_log_has_every_term_as_lines_and_as_tensorboard_events(finished):
    workdir = finished.workdir
    losses = records(workdir, "total")
    assert [r["step"] for r in losses] == [1, 2, 3, 4, 6, 8]
    for r in losses:
        np.testing.assert_allclose(r["total"], r["main"] + r["auxiliary"] + 0.1 * r["reconstruction"], rtol=1e-5)
    assert [r["step"] for r in records(workdir, "miou")] == [3, 6, 8]
    np.testing.assert_allclose(losses[0]["learning_rate"], 0.025 * (1 - 1 / 8) ** 0.9, rtol=1e-6)
    assert [r["step"] for r in losses if "episodes_per_second" in r] == [2, 3, 4, 6, 8]  # the first step compiles
    assert list(workdir.log.glob("events.out.tfevents*"))


@pytest.mark.parametrize("stop", STOPS)
def test_a_resumed_training_ends_at_the_same_parameters_bit_for_bit(finished, tmp_path, stop):
    end, error, resumed = STOPS[stop]
    with pytest.raises(error, match=r"^crash$|training stopped at step 3 of 8; a checkpoint is saved"):
        train_tiny(tmp_path / "run", say=end)
    config, lines = tiny_config(), []
    with Checkpoints(tmp_path / "run" / "checkpoints", config, read_only=True) as checkpoints:
        assert (checkpoints.find("latest"), checkpoints.find("best")) == (resumed, 3)
    config.data.resident = stop == "interrupt"  # batches from device memory are the same
    workdir = train_tiny(tmp_path / "run", config, lines.append)
    assert f"resuming {workdir.path} at step {resumed} of 8" in lines
    assert any(line.startswith("train in device memory: image 8/8") for line in lines) == config.data.resident
    assert_same_bits(final_parameters(workdir), final_parameters(finished.workdir))
    steps = [record["step"] for record in records(workdir, "total")]
    assert steps == sorted(set(steps)) and 6 in steps


@pytest.mark.slow
def test_a_training_moves_from_several_devices_to_one_and_back(finished, tmp_path, monkeypatch):
    def train_until(step, devices):
        monkeypatch.setattr(head, "data_mesh", lambda batch: data_mesh(devices))
        lines = []

        def say(line):
            lines.append(line)
            if line.startswith(f"step {step}/"):
                raise Crash

        with pytest.raises(Crash) if step else contextlib.nullcontext():
            train_tiny(tmp_path / "run", tiny_config(checkpoint_every=2, evaluation_episodes=0), say)
        return "\n".join(lines)

    assert ", 4 cpu device(s)" in train_until(4, devices=4)
    assert ", 1 cpu device(s)" in (said := train_until(6, devices=1)) and "at step 3 of 8" in said
    assert ", 4 cpu device(s)" in (said := train_until(None, devices=4)) and "at step 4 of 8" in said
    assert_close(final_parameters(Workdir(tmp_path / "run")), final_parameters(finished.workdir))


def test_a_batch_is_put_on_the_devices_while_the_step_before_it_runs(tmp_path, monkeypatch):
    events = []

    def record(name, function):
        return lambda *given: events.append(name) or function(*given)

    def recorded(*given, **rules):
        source = image_source(*given, **rules)
        return source._replace(place=record("place", source.place))

    monkeypatch.setattr(head, "image_source", recorded)
    monkeypatch.setattr(head, "train_step", lambda *given: record("step", train_step(*given)))
    monkeypatch.setattr(loop, "finite_mean", record("wait", finite_mean))
    train_tiny(tmp_path / "run", tiny_config(log_every=1, evaluation_episodes=0))
    assert events == ["place", "step", *7 * ["place", "wait", "step"], "wait"]


def test_choices_of_training_episodes_reach_the_training_and_leave_the_test_side_alone(tmp_path, monkeypatch):
    dataset = tiny_dataset()
    counts = dataset.train.counts.copy()
    counts[0, 6] = 1  # one pixel of a novel class, in both splits
    dataset = dataclasses.replace(
        dataset, **{name: dataclasses.replace(getattr(dataset, name), counts=counts) for name in ("train", "test")}
    )
    indices, manifests = [], []

    def no_batches(load, index, **_):
        indices.append(index)
        yield from ()

    def draw(*arguments, **given):
        manifests.append(configured_manifest(*arguments, **given))
        return manifests[-1]

    monkeypatch.setattr(head, "training_batches", no_batches)
    monkeypatch.setattr(stages, "configured_manifest", draw)
    chosen = {"drop_novel": True, "class_sampling": "uniform", "distinct_supports": False}
    for choices in ({}, chosen):
        config = tiny_config(select_on="base")
        config.data.update(choices)
        with pytest.raises(StopIteration):
            stages.train(config, Workdir(tmp_path / f"run{len(choices)}"), lambda line: None, dataset)
    usual, other = indices
    assert (usual.class_sampling, usual.distinct_supports) == ("image", True)
    assert (other.class_sampling, other.distinct_supports) == ("uniform", False)
    assert usual.admitted.tolist() == [0, *other.admitted.tolist()] == list(range(8))
    assert manifests[0] == manifests[1] and 0 in {episode.query for episode in manifests[0].specs(dataset)}


def test_resuming_with_other_weights_or_another_config_is_refused(finished, tmp_path):
    config = tiny_config()
    config.model.weights = str(tmp_path / "other.safetensors")
    Path(config.model.weights).write_bytes(b"other")
    with pytest.raises(UserError, match=r"other weights than model\.weights = "):
        train_tiny(finished.workdir.path, config)
    config = tiny_config(log_every=7)  # changes nothing that is computed
    config.optimizer.learning_rate = 0.01
    with pytest.raises(UserError, match=r"another config \(optimizer.learning_rate: 0.025 -> 0.01\); choose a new one"):
        train_tiny(finished.workdir.path, config)


def test_a_loss_that_is_not_finite_stops_training(tmp_path, monkeypatch):
    init = head.init_head
    monkeypatch.setattr(head, "init_head", lambda *given: jax.tree.map(lambda x: x * np.nan, init(*given)))
    with pytest.raises(UserError, match=r"loss of step 1 is not finite \(.*total nan\); there is no checkpoint yet"):
        train_tiny(tmp_path / "run")
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_model(tmp_path / "run")


def test_non_finite_losses_and_parameters_are_reported_with_step_and_checkpoint():
    terms = [{"total": jnp.float32(x), "main": jnp.float32(1)} for x in (1, 2, 3)]
    assert finite_mean(terms, 9, None) == {"total": 2.0, "main": 1.0}
    terms[1]["total"] = jnp.float32(np.inf)
    with pytest.raises(UserError, match=r"^the loss of step 8 is not finite \(total inf, main 1\); .* is of step 4\.$"):
        finite_mean(terms, 9, 4)
    state = TrainState(jnp.int32(9), {"w": jnp.array([1.0, np.nan])}, (), {})
    with pytest.raises(UserError, match=r"^the parameters after step 9 are not finite; .* is of step 4\.$"):
        check_finite(state, 9, 4)
