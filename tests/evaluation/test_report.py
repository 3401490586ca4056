"""Result files: whole or not there."""

import json

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.evaluation import report as results_module
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.report import about_run, report, result_files, result_json, write_example, write_result
from mmnet_jax.evaluation.runner import evaluate


@pytest.fixture(scope="module")
def result(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=1, protocol="pfenet", seed=0, min_pixels=20, episodes=8)
    return evaluate(*network, config, dataset, manifest)


@pytest.fixture(scope="module")
def run(network, config):
    return about_run(config, network[1]["params"], checkpoint="best", step=1)


def test_the_result_is_written_last(result, run, dataset, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(results_module, "write_whole", lambda path, content: order.append(path.name))
    summary = result_json(result, dataset, run)
    write_result(tmp_path / "new" / "r.json", summary, result, dataset)
    assert order == ["r.manifest.json", "r.episodes.csv", "r.json"]


def test_a_name_without_its_ending_is_kept(result, run, dataset, tmp_path):
    summary = result_json(result, dataset, run)
    write_result(tmp_path / "run.2", summary, result, dataset)
    files = result_files(tmp_path / "run.2")[:3]  # no samples, no sheet
    assert [file.name for file in files] == ["run.2", "run.2.manifest.json", "run.2.episodes.csv"]
    assert set(tmp_path.iterdir()) == set(files)
    assert json.loads(files[0].read_text())["baselines"] == {}


def test_classes_are_named_and_those_without_episodes_left_out(result, run, dataset):
    summary = result_json(result, dataset, run)
    assert set(summary["class_iou"]) == {"bus", "car", "cat"}
    assert summary["left_out"] == ["chair", "cow"]
    assert summary["miou"] == pytest.approx(np.mean(list(summary["class_iou"].values())))
    low, high = summary["interval95"]
    assert low <= summary["miou"] <= high
    words = report(summary)
    assert f"mIoU {summary['miou']:.2f} [{low:.2f}, {high:.2f}]" in words and "not in the mean: chair, cow" in words


def test_an_example_is_an_episode_of_the_best_class(result, run, dataset, tmp_path):
    summary = result_json(result, dataset, run)
    write_example(tmp_path / "example", result.manifest, dataset, summary)
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    spec = next(e for e in result.manifest.episodes if dataset.class_names[e.class_id] == best)
    (image, mask), (query, _) = dataset.test.read(spec.supports[0]), dataset.test.read(spec.query)
    expected = {"support": image, "mask": np.where(mask == spec.class_id, 255, 0), "query": query}
    for name, pixels in expected.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "example" / f"{name}.png")), pixels)
