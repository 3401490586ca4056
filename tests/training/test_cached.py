"""Training and evaluation from stored features, against the same from the images."""

from __future__ import annotations

import errno
import json
import os
import signal

import jax
import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.data import raw as raw_module
from mmnet_jax.evaluation import checkpoint as scoring, outputs as measuring
from mmnet_jax.evaluation.checkpoint import score_workdir
from mmnet_jax.evaluation.protocols import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.store import open_stores
from mmnet_jax.training.stages import train
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_training import tiny_config, tiny_dataset, tiny_library

STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with tiny_library():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cached")


def configured(folder, cached, support_level4="masked", **training):
    config = tiny_config(
        **{"steps": STEPS, "log_every": 1, "checkpoint_every": STEPS, "evaluate_every": 0, "evaluation_episodes": 0}
        | training
    )
    config.training.cache_features = cached
    config.data.update(augment=False, data_dir=str(folder / "data"))
    config.model.support_level4 = support_level4
    return config


def losses(workdir):
    records = [json.loads(line) for line in (workdir.log / "metrics.jsonl").read_text().splitlines()]
    return [
        [record[name] for name in ("main", "auxiliary", "reconstruction")] for record in records if "main" in record
    ]


def final_parameters(workdir):
    return jax.tree.map(np.asarray, load_model(workdir.path, "latest")[1]["params"])


@pytest.fixture(scope="module")
def finished(folder):
    """A training from stored features, with evaluations in it and after it, in which no image is read."""

    def refuse(*arguments):
        raise AssertionError("images were read")

    config = configured(folder, True, evaluation_episodes=6)
    config.evaluation.update(after_training=True, episodes=6)
    workdir, lines = Workdir(folder / "finished"), []
    with pytest.MonkeyPatch.context() as patch:
        for module in (raw_module, measuring):
            patch.setattr(module, "load_episodes", refuse)
        train(config, workdir, lines.append)
    return workdir, lines


@pytest.mark.parametrize("support_level4", ["masked", "masked_twice"])
def test_training_from_stored_features_is_training_from_unaugmented_images(folder, finished, support_level4):
    places = {cached: Workdir(folder / f"{support_level4}_{cached}") for cached in (True, False)}
    for cached, place in places.items():
        if cached and support_level4 == "masked":
            places[cached] = finished[0]
        else:
            train(configured(folder, cached, support_level4), place, lambda line: None)
    stored, images = (losses(places[cached]) for cached in (True, False))
    assert len(stored) == STEPS
    np.testing.assert_allclose(stored, images, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        final_parameters(places[True]),
        final_parameters(places[False]),
    )


def test_an_evaluation_from_stored_features_counts_the_same_pixels(folder, finished):
    model, variables, config = load_model(finished[0].path)
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config, episodes=7)
    store = open_stores(config, model, variables, "0" * 64, [dataset.test], lambda line: None)[0]
    stored, images = (
        evaluate(model, variables, config, dataset, manifest, store=s, baselines=True, samples=2) for s in (store, None)
    )
    np.testing.assert_array_equal(stored.intersection, images.intersection)
    np.testing.assert_array_equal(stored.union, images.union)
    np.testing.assert_array_equal(stored.area, images.area)
    assert stored.baselines == images.baselines
    for a, b in zip(stored.samples, images.samples, strict=True):
        np.testing.assert_array_equal(a.predicted, b.predicted)


def test_stores_are_made_before_the_first_step_and_used_again_after_it(finished):
    _, lines = finished
    made = [number for number, line in enumerate(lines) if line.startswith("features: ")]
    first_step = next(number for number, line in enumerate(lines) if line.startswith("step 1/"))
    assert [lines[number].split(",")[0] for number in made] == [
        "features: 8/8 images of train",
        "features: 6/6 images of val",
    ]
    assert max(made) < first_step
    assert (finished[0].results / "result.json").is_file()


def test_an_interrupted_training_from_stored_features_ends_at_the_same_parameters_bit_for_bit(folder, finished):
    workdir = Workdir(folder / "interrupted")
    config = configured(folder, True)

    def interrupt(line):
        if line.startswith("step 1/"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="stopped at step 2 of 3"):
        train(config, workdir, interrupt)
    train(config, workdir, lambda line: None)
    jax.tree.map(np.testing.assert_array_equal, final_parameters(workdir), final_parameters(finished[0]))


def test_a_trained_network_is_evaluated_where_nothing_can_be_stored(finished, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "data/features")

    monkeypatch.setattr(scoring, "open_stores", refuse)
    workdir, lines = finished[0], []
    config = workdir.load_config()
    scored = score_workdir(
        workdir,
        config,
        lambda dataset: configured_manifest(dataset, config),
        output=tmp_path / "result.json",
        say=lines.append,
    )
    assert "data/features cannot be written (Read-only file system): features are computed from the images" in lines
    assert scored.summary["miou"] == json.loads((workdir.results / "result.json").read_text())["miou"]
