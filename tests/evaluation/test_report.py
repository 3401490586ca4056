"""The files of a result, its text, and the sheet of episodes by its pixels."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.drawing.images import fit_size, heat
from mmnet_jax.evaluation import manifest as manifest_module, report as report_module
from mmnet_jax.evaluation.checkpoint import Restored, about_run
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.report import (
    NETWORK,
    about_code,
    report,
    result_files,
    result_json,
    write_example,
    write_result,
)
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.ops.resize import resize_on_host
from mmnet_jax.workdir.folder import Workdir


@pytest.fixture(scope="module")
def result(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=1, protocol="pfenet", seeds=(0,), min_pixels=20, episodes=8)
    return evaluate(*network, config, dataset, manifest)


@pytest.fixture(scope="module")
def summary(network, config, result, dataset):
    return result_json(result, dataset, about_run(Restored(Workdir("none"), "best", *network, config, 1, "0")))


def test_the_result_is_written_last_and_a_name_without_its_ending_kept(result, summary, dataset, tmp_path, monkeypatch):
    write_result(tmp_path / "run.2", summary, result, dataset)
    files = result_files(tmp_path / "run.2")[:3]  # no samples, no sheet
    assert [file.name for file in files] == ["run.2", "run.2.manifest.json", "run.2.episodes.csv"]
    assert set(tmp_path.iterdir()) == set(files)
    assert json.loads(files[0].read_text())["baselines"] == {}
    order = []
    for module, name in (
        (report_module, "write_json"),
        (report_module, "write_atomically"),
        (manifest_module, "write_atomically"),
    ):
        monkeypatch.setattr(module, name, lambda path, content: order.append(path.name))
    write_result(tmp_path / "new" / "r.json", summary, result, dataset)
    assert order == ["r.manifest.json", "r.episodes.csv", "r.json"]


def test_a_result_has_its_training_seed_and_only_classes_with_episodes(summary):
    assert summary["trained_seed"] == 321
    assert set(summary["class_iou"]) == {"bus", "car", "cat"}
    assert summary["left_out"] == ["chair", "cow"]
    assert summary["miou"] == pytest.approx(np.mean(list(summary["class_iou"].values())))
    low, high = summary["interval95"]
    assert low <= summary["miou"] <= high
    words = report(summary)
    assert f"mIoU {summary['miou']:.2f} [{low:.2f}, {high:.2f}]" in words and "not in the mean: chair, cow" in words


def test_the_summary_of_a_network_fills_the_fields_that_are_null_without_one(network, config):
    restored = Restored(Workdir("none"), "best", *network, config, 1, "0")
    assert {*about_run(restored)} == {*NETWORK, *about_code()}


def test_the_report_lists_the_lowest_and_highest_of_many_classes(summary):
    many = {f"class{i}": float(i * 37 % 240) for i in range(240)}
    lines = report(summary | {"class_iou": many, "left_out": [f"none{i}" for i in range(25)]}).splitlines()
    assert lines[2].startswith("lowest: class0 0.0  class13 1.0  ") and lines[2].count("class") == 5
    assert lines[3].startswith("highest: ") and lines[3].endswith(" 239.0") and lines[3].count("class") == 5
    assert lines[4].endswith("none19 and 5 more")


def test_a_result_names_variant_and_folds_where_the_dataset_offers_several(result, dataset):
    def first_line(**choices):
        manifest = dataclasses.replace(result.manifest, choices=choices)
        summary = result_json(dataclasses.replace(result, manifest=manifest), dataset, {})
        return summary, report(summary).splitlines()[0]

    assert first_line()[1].startswith("pascal5i fold 1, 1-shot, ")  # never prepared, as in earlier results
    summary, line = first_line(split="trainaug")
    assert summary["split"] == "trainaug" and "folds" not in summary
    assert line.startswith("pascal5i (split=trainaug) fold 1, 1-shot, protocol pfenet, 8 episodes, seed 0")
    choices = {"dataset": "coco20i", "coco_masks": "published", "folds": "interleaved"}
    assert report(summary | choices).startswith("coco20i (coco_masks=published, folds=interleaved) fold 1, ")


def test_an_example_is_an_episode_of_the_best_class(result, summary, dataset, tmp_path):
    write_example(tmp_path / "example", result.manifest, dataset, summary)
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    spec = next(e for e in result.manifest.specs(dataset) if dataset.class_names[e.class_id] == best)
    (image, mask), query = dataset.test.read(spec.supports[0], spec.class_id), dataset.test.read_image(spec.query)
    expected = {"support": image, "mask": np.where(mask == 1, 255, 0), "query": query}
    for name, pixels in expected.items():
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "example" / f"{name}.png")), pixels)


def test_a_sheet_has_a_row_for_each_sample_and_a_column_for_each_image(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=2, protocol="pfenet", seeds=(0,), min_pixels=20, episodes=8)
    result = evaluate(*network, config, dataset, manifest, samples=3)
    assert len(result.samples) == 3
    sheet = episode_sheet(result, dataset)
    # a row is as high as its highest tile: 150 pixels where one of them is upright, less where all are wide
    episodes = [manifest.specs(dataset)[sample.episode] for sample in result.samples]
    shapes = [[dataset.test.read_mask(i).shape for i in (e.query, *e.supports)] for e in episodes]
    heights = [max(fit_size(shape, 150)[0] for shape in row) for row in shapes]
    assert sheet.shape == (22 + sum(heights) + 3 * 6, 96 + (2 + 4 + 3) * 156, 3)
    # the last tile is the heat of the last activation, without the query's padding
    sample = result.samples[-1]
    height, width = fit_size(sample.predicted.shape, 150)
    expected = heat(resize_on_host(sample.activations[-1], (150, 150))[:height, :width])
    left, top = 96 + 8 * 156, sheet.shape[0] - 6 - heights[-1]
    shown = sheet[top : top + height, left : left + width]
    np.testing.assert_array_equal(shown[30:], expected[30:])  # its number stands above
    assert (sheet[top : top + height, left + width :] == 255).all()
