"""A workdir of version 0.1.0 (format 1, reading ``released``, the tiny backbone) still evaluates and predicts."""

import json

import numpy as np
import pytest

from mmnet_jax import load_model
from mmnet_jax.evaluation.checkpoint import score_workdir
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.inference.segmentation import segment_images
from mmnet_jax.inference.supports import read_supports
from mmnet_jax.workdir.folder import Workdir
from tests.conftest import REFERENCE
from tests.training.tiny_training import tiny_dataset

STORED = Workdir(REFERENCE / "workdir_format1")


def test_it_evaluates_to_the_stored_result(tmp_path):
    config, stored = STORED.load_config(), json.loads((STORED.results / "result.json").read_text())
    manifest = configured_manifest(tiny_dataset(), config)
    scored = score_workdir(STORED, config, tiny_dataset(), manifest, output=tmp_path / "result.json")
    for field in ("weights_sha256", "parameters_sha256", "data_sha256", "checkpoint", "step", "class_iou", "left_out"):
        assert scored.summary[field] == stored[field], field
    for field in ("miou", "fb_iou", "interval95"):
        assert scored.summary[field] == pytest.approx(stored[field]), field
    for name in ("manifest.json", "episodes.csv"):
        assert (tmp_path / f"result.{name}").read_text() == (STORED.results / f"result.{name}").read_text()


def test_it_predicts_the_stored_logits(tmp_path):
    model, variables, config = load_model(STORED.path)
    support, mask, query = (STORED.results / "example" / f"{name}.png" for name in ("support", "mask", "query"))
    supports = read_supports([support], [mask], config)
    (result,) = segment_images(model, variables, config, supports, [query], tmp_path, save_logits=True)
    logits = np.load(next(file for file in result.files if file.suffix == ".npy"))
    np.testing.assert_allclose(logits[::4, ::4], np.load(STORED.path / "logits.npy"), atol=1e-5)
    assert logits.std() > 1e-3
