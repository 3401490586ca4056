"""Result files: whole or not there."""

from __future__ import annotations

import json

import pytest

from mmnet_jax.evaluation import report as results_module
from mmnet_jax.evaluation.protocols import draw_manifest
from mmnet_jax.evaluation.report import about_run, result_json, write_result
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
