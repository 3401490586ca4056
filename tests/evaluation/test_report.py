"""Result files: whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmnet_jax.evaluation import report as results_module
from mmnet_jax.evaluation.protocols import draw_manifest
from mmnet_jax.evaluation.report import about_run, result_json, write_result, write_whole
from mmnet_jax.evaluation.runner import evaluate


@pytest.fixture(scope="module")
def result(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=1, protocol="pfenet", seed=0, min_pixels=20, episodes=8)
    return evaluate(*network, config, dataset, manifest)


@pytest.fixture(scope="module")
def run(network, config):
    return about_run(
        config, checkpoint="best", step=1, parameters=network[1]["params"], weights_sha256="0" * 64, data_sha256={}
    )


def test_a_file_takes_the_place_of_the_one_before(tmp_path):
    write_whole(tmp_path / "x.json", b"one")
    write_whole(tmp_path / "x.json", b"two")
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_bytes() == b"two"


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
    write_whole(tmp_path / "x.json", b"one")

    def no_space(self, content):
        self.touch()
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError):
        write_whole(tmp_path / "x.json", b"two")
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_bytes() == b"one"


def test_the_result_is_written_last(result, run, dataset, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(results_module, "write_whole", lambda path, content: order.append(path.name))
    summary = result_json(result, dataset, run)
    write_result(tmp_path / "new" / "r.json", summary, result, dataset)
    assert order == ["r.manifest.json", "r.episodes.csv", "r.json"]


def test_a_name_without_its_ending_is_kept(result, run, dataset, tmp_path):
    summary = result_json(result, dataset, run)
    files = write_result(tmp_path / "run.2", summary, result, dataset)
    assert [file.name for file in files] == ["run.2", "run.2.manifest.json", "run.2.episodes.csv"]
    assert json.loads(files[0].read_text())["baselines"] == {}
