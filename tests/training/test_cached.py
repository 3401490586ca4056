"""Training and evaluation from stored features equal those from images."""

import errno
import json
import os
from unittest import mock

import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.data.dataset import Split
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import checkpoint as scoring
from mmnet_jax.evaluation.checkpoint import restore, score_checkpoint
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.store import stored_sources
from tests.training.tiny_training import (
    assert_close,
    assert_same_bits,
    final_parameters,
    interrupt_at,
    records,
    tiny_config,
    tiny_dataset,
    train_tiny,
)

TERMS = ("main", "auxiliary", "reconstruction")


def configured(folder, cached, support_level4="masked"):
    config = tiny_config(steps=3, log_every=1, checkpoint_every=3, evaluate_every=0, evaluation_episodes=0)
    config.training.cache_features = cached
    config.data.update(augment=False, data_dir=str(folder / "data"))
    config.model.support_level4 = support_level4
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cached")


@pytest.fixture(scope="module")
def finished(folder):
    """An evaluated training from stored features, its output, and the splits of the images that it read."""
    config = configured(folder, True)
    config.evaluation.update(after_training=True, episodes=6)
    lines, read = [], []
    with pytest.MonkeyPatch.context() as patch:
        original = Split.read_image
        patch.setattr(Split, "read_image", lambda split, *at: read.append(split.name) or original(split, *at))
        workdir = train_tiny(folder / "finished", config, lines.append)
    return workdir, lines, read


@pytest.mark.parametrize(("protocol", "splits"), [("pfenet", ["train", "val"]), ("hsnet", ["train"])])
def test_test_features_are_stored_only_for_protocols_that_pad(folder, monkeypatch, tmp_path, protocol, splits):
    config, requested = configured(folder, True), []
    config.evaluation.protocol = protocol

    def refuse(config, model, frozen, sha256, wanted, say):
        requested.extend(split.name for split in wanted)
        raise UserError("enough.")

    monkeypatch.setattr("mmnet_jax.training.head.stored_sources", refuse)
    with pytest.raises(UserError, match="enough"):
        train_tiny(tmp_path / "run", config)
    assert requested == splits


@pytest.mark.parametrize("support_level4", ["masked", pytest.param("masked_twice", marks=pytest.mark.slow)])
def test_training_from_stored_features_equals_training_from_images(folder, finished, support_level4):
    stored = finished[0]
    if support_level4 == "masked_twice":
        stored = train_tiny(folder / "stored_twice", configured(folder, True, support_level4))
    images = train_tiny(folder / f"images_{support_level4}", configured(folder, False, support_level4))
    losses = [[[record[term] for term in TERMS] for record in records(place, "main")] for place in (stored, images)]
    assert len(losses[0]) == 3
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert_close(final_parameters(stored), final_parameters(images))


def test_features_are_stored_before_the_first_step_and_each_image_is_read_once(finished):
    workdir, lines, read = finished
    stored = [number for number, line in enumerate(lines) if line.startswith("features of ")]
    first_step = next(number for number, line in enumerate(lines) if line.startswith("step 1/"))
    found = [lines[number].split("  ")[0] for number in stored]
    assert found == ["features of train: image 8/8", "features of val: image 6/6"] and max(stored) < first_step
    assert (workdir.results / "result.json").is_file()
    # the sheet and the example of the final evaluation show images
    assert read[:14] == 8 * ["train"] + 6 * ["val"] and "train" not in read[14:]


def test_an_evaluation_from_stored_features_equals_one_from_images(finished):
    model, variables, config = load_model(finished[0].path)
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config, episodes=7)
    source = stored_sources(config, model, variables, "0" * 64, [dataset.test], lambda line: None)[0]
    stored, images = (
        evaluate(model, variables, config, dataset, manifest, source=s, baselines=True, samples=2)
        for s in (source, None)
    )
    for counts in ("intersection", "union", "area"):
        np.testing.assert_array_equal(getattr(stored, counts), getattr(images, counts))
    for name, ours in stored.baselines.items():
        theirs = images.baselines[name]
        assert (ours.scores, ours.threshold) == (theirs.scores, theirs.threshold)
        np.testing.assert_array_equal(ours.union, theirs.union)
    for a, b in zip(stored.samples, images.samples, strict=True):
        np.testing.assert_array_equal(a.predicted, b.predicted)


def test_an_interrupted_training_resumed_from_device_memory_ends_at_the_same_parameters_bit_for_bit(folder, finished):
    config = configured(folder, True)
    with pytest.raises(Stopped, match="stopped at step 2 of 3"):
        train_tiny(folder / "interrupted", config, interrupt_at(1))
    config.data.resident = True
    workdir = train_tiny(folder / "interrupted", config)
    assert_same_bits(final_parameters(workdir), final_parameters(finished[0]))


def test_a_trained_network_is_evaluated_from_images_if_the_disk_is_read_only(finished, tmp_path, monkeypatch):
    refused = OSError(errno.EROFS, os.strerror(errno.EROFS), "data/features")
    monkeypatch.setattr(scoring, "stored_sources", mock.Mock(side_effect=refused))
    workdir, lines = finished[0], []
    config = workdir.load_config()
    dataset = tiny_dataset()
    manifest = configured_manifest(dataset, config)
    output = tmp_path / "result.json"
    scored = score_checkpoint(restore(workdir), config, dataset, manifest, output=output, say=lines.append)
    reason = "data/features cannot be written (Read-only file system)"
    assert f"note: features are computed from the images: {reason}" in lines
    assert scored.summary["miou"] == json.loads((workdir.results / "result.json").read_text())["miou"]
