"""Workdirs: reading those of other versions, locks, and resuming."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmnet_jax import __version__, load_model
from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.checkpoint import restore, score_checkpoint
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.inference.segmentation import segment_images
from mmnet_jax.inference.supports import read_supports
from mmnet_jax.workdir.folder import FORMAT, Workdir
from tests.conftest import REFERENCE
from tests.training.tiny_training import tiny_config, tiny_dataset

STORED = Workdir(REFERENCE / "workdir_format1")
"""A workdir of version 0.1.0: reading ``released``, the tiny backbone."""


def write_config(workdir, **changes):
    workdir.path.mkdir(exist_ok=True)
    text = {"format": FORMAT, "version": __version__, "config": json.loads(tiny_config().to_json_best_effort())}
    workdir.config_file.write_text(json.dumps(text | changes))


def test_a_config_is_read_with_and_without_a_format_number(tmp_path):
    workdir = Workdir(tmp_path)
    write_config(workdir)
    text = json.loads(workdir.config_file.read_text())
    assert workdir.load_config() == resolve(tiny_config()) and text.pop("format") == FORMAT
    workdir.config_file.write_text(json.dumps(text))
    assert workdir.load_config() == resolve(tiny_config())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": FORMAT + 1}, f"its format is {FORMAT + 1}, not {FORMAT}."),
        ({"config": {"fold": 1, "new_field": 2}}, "unknown config field new_field."),
        ({"config": {"fold": "one"}}, "config field fold must be of type int, but is 'one'."),
        ({"config": {"reading": "ours"}}, "reading must be one of paper, released, but is 'ours'."),
    ],
)
def test_a_workdir_of_an_incompatible_version_is_refused(tmp_path, changes, reason):
    workdir = Workdir(tmp_path)
    write_config(workdir, version="9.8.7", **changes)
    with pytest.raises(UserError) as error:
        workdir.load_config()
    written = f"workdir {tmp_path} was written by mmnet_jax 9.8.7 and cannot be read by {__version__}, this one: "
    assert str(error.value) == written + reason


def test_a_missing_or_malformed_config_is_refused(tmp_path):
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is not a workdir: it has no config\.json"):
        Workdir(tmp_path).resumes(tiny_config())
    for text in ("[]", "{}", "7", "{"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"config\.json is not a config of this package"):
            Workdir(tmp_path).load_config()


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    for method in ("mkdir", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(UserError, match=r"workdir .*run cannot be written: Read-only file system\.$"):
                Workdir(tmp_path / "run").lock().__enter__()
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"run is a file, not a folder\.$"):
        Workdir(tmp_path / "run").lock().__enter__()


def test_a_lock_is_released_after_a_training(tmp_path):
    workdir = Workdir(tmp_path / "run")
    for _ in range(2):
        with workdir.lock():
            workdir.config_file.write_text("{}")
    assert {path.name for path in workdir.path.iterdir()} == {".lock", "config.json"}


def test_a_stored_workdir_evaluates_to_its_stored_result(tmp_path):
    config, stored = STORED.load_config(), json.loads((STORED.results / "result.json").read_text())
    manifest = configured_manifest(tiny_dataset(), config)
    scored = score_checkpoint(restore(STORED), config, tiny_dataset(), manifest, output=tmp_path / "result.json")
    for field in ("weights_sha256", "parameters_sha256", "data_sha256", "checkpoint", "step", "class_iou", "left_out"):
        assert scored.summary[field] == stored[field], field
    for field in ("miou", "fb_iou"):  # the stored interval is over episodes
        assert scored.summary[field] == pytest.approx(stored[field]), field
    old, new = (at / "result.episodes.csv" for at in (STORED.results, tmp_path))
    for row, now in zip(old.read_text().splitlines(), new.read_text().splitlines(), strict=True):
        assert now.startswith(row)
    stored, now = (json.loads((at / "result.manifest.json").read_text()) for at in (STORED.results, tmp_path))
    assert now.items() >= stored.items()


def test_a_stored_result_without_a_variant_is_reused(tmp_path):
    config, dataset = STORED.load_config(), dataclasses.replace(tiny_dataset(), variant="protocol")
    shutil.copytree(STORED.results, tmp_path / "results")
    output = tmp_path / "results" / "result.json"
    for file in result_files(output):
        file.touch()

    def scored():
        manifest = configured_manifest(dataset, config)
        return score_checkpoint(restore(STORED), config, dataset, manifest, output=output, keep=True)

    kept = scored()
    assert not kept.fresh and "split" not in kept.summary
    manifest = result_files(output)[1]
    manifest.write_text(manifest.read_text().replace('"fold"', '"split": "folder", "fold"'))
    again = scored()
    assert again.fresh and again.summary["split"] == "protocol"


def test_other_folds_or_masks_are_not_resumed(tmp_path):
    workdir, config = Workdir(tmp_path), tiny_config()
    config.data.update(dataset="coco20i", folds="interleaved")
    write_config(workdir, config=json.loads(resolve(config).to_json_best_effort()))
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "checkpoints" / "3" / "_CHECKPOINT_METADATA").touch()
    for field, value, change in (
        ("folds", "contiguous", "'interleaved' -> 'contiguous'"),
        ("coco_masks", "published", "'all' -> 'published'"),
    ):
        other = resolve(config)
        other.data[field] = value
        with pytest.raises(UserError, match=rf"another config \(data\.{field}: {change}\); choose a new one\.$"):
            workdir.resumes(other)


def test_a_stored_workdir_predicts_its_stored_logits(tmp_path):
    model, variables, config = load_model(STORED.path)
    support, mask, query = (STORED.results / "example" / f"{name}.png" for name in ("support", "mask", "query"))
    supports = read_supports([support], [mask], config)
    (result,) = segment_images(model, variables, config, supports, [query], tmp_path, save_logits=True)
    logits = np.load(next(file for file in result.files if file.suffix == ".npy"))
    np.testing.assert_allclose(logits[::4, ::4], np.load(STORED.path / "logits.npy"), atol=1e-5)
    assert logits.std() > 1e-3
