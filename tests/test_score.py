"""The command score from end to end, on masks of two simple predictors."""

import contextlib
import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmnet_jax import score
from mmnet_jax.evaluation.manifest import draw_manifest, write_manifest
from tests.cli.call import call
from tests.data.synthetic import jpeg, palette_png, prepare_voc, voc_folder
from tests.evaluation import predictors
from tests.evaluation.reference import mask_counts, miou


def command(folder, *arguments):
    with contextlib.chdir(folder):
        return call(score.define_flags, score.main, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """VOCdevkit/ of 12 test images of three classes, a coloured square each, data/, pfenet.json, hsnet.json.gz."""
    folder = tmp_path_factory.mktemp("score")
    voc = voc_folder(folder / "VOCdevkit", ["val_12"], [f"val_{i}" for i in range(12)])
    random = np.random.default_rng(0)
    for i in range(13):
        mask = np.zeros(random.integers(60, 90, size=2), np.uint8)
        top, left = random.integers(0, 25, size=2)
        mask[top : top + 30, left : left + 30] = (6, 8, 10)[i % 3]
        mask[-3:] = 255
        pixels = random.integers(0, 60, (*mask.shape, 3), dtype=np.uint8)
        pixels[(mask > 0) & (mask < 255), i % 3] += 150
        (voc / "JPEGImages" / f"val_{i}.jpg").write_bytes(jpeg(pixels))
        (voc / "SegmentationClassAug" / f"val_{i}.png").write_bytes(palette_png(mask))
    dataset = prepare_voc(folder / "VOCdevkit", folder / "data")
    rules = {"fold": 1, "shots": 2, "min_pixels": 30, "episodes": 20}
    manifest = draw_manifest(dataset, protocol="pfenet", seeds=(321,), **rules)
    write_manifest(folder / "pfenet.json", manifest)
    write_manifest(folder / "hsnet.json.gz", dataclasses.replace(manifest, protocol="hsnet", seeds=(0,)))
    return folder


def predict(folder, name, manifest="pfenet.json"):
    """Writes a predictor's masks to a new folder, whose name is returned."""
    output = f"{name}_{manifest.partition('.')[0]}"
    voc = folder / "VOCdevkit" / "VOC2012"
    predictors.predict(name, folder / manifest, voc / "JPEGImages", voc / "SegmentationClassAug", folder / output)
    return output


@pytest.fixture(scope="module")
def boxes(folder):
    """The masks of the pasted box, scored with the prepared labels."""
    arguments = f"--manifest=pfenet.json --predictions={predict(folder, 'pasted_box')} --data_dir=data"
    done = command(folder, *arguments.split(), "--output=out/box.json", "--name=Pasted box")
    assert done.returncode == 0, done.stderr
    return done


def test_the_colour_predictor_scores_higher_than_the_pasted_box(folder, boxes):
    masks = predict(folder, "colours")
    done = command(
        *(folder, "--manifest=pfenet.json", f"--predictions={masks}", "--data_dir=data", "--output=out/colours.json")
    )
    assert done.returncode == 0, done.stderr
    box, colours = (json.loads((folder / "out" / f"{name}.json").read_text()) for name in ("box", "colours"))
    assert (box["name"], colours["name"]) == ("Pasted box", None)
    assert 5 < box["miou"] < 60 < 80 < colours["miou"]
    assert f"mIoU {box['miou']:.2f} [" in boxes.stdout
    files = "box.json out/box.manifest.json out/box.episodes.csv out/box.sheet.png out/box.report.html"
    assert boxes.stdout.endswith(f"written: out/{files}\n")
    assert "<h1>Pasted box: mIoU " in (folder / "out" / "box.report.html").read_text()


def test_the_result_equals_counting_each_mask(folder, boxes):
    manifest = json.loads((folder / "pfenet.json").read_text())
    labels = folder / "VOCdevkit/VOC2012/SegmentationClassAug"
    counts = []
    for number, episode in enumerate(manifest["episodes"]):
        index = np.asarray(Image.open(labels / f"{episode['query']}.png"))
        label = np.where(index == 255, 255, index == manifest["class_ids"][episode["class"]])
        predicted = np.asarray(Image.open(folder / "pasted_box_pfenet" / f"{number:06d}.png")) > 0
        counts.append(mask_counts(predicted, label))
    result = json.loads((folder / "out" / "box.json").read_text())
    assert result["miou"] == pytest.approx(miou(counts, [e["class"] for e in manifest["episodes"]]), abs=1e-9)
    with (folder / "out" / "box.episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["intersection"]), int(row["union"])) for row in rows] == [(i[1], u[1]) for i, u in counts]
    assert json.loads((folder / "out" / "box.manifest.json").read_text()) == manifest
    assert result["episodes_sha256"] == [manifest["sha256"]]
    assert (result["protocol"], result["scoring"], result["split"]) == ("pfenet", "label size", "folder")
    network = ("checkpoint", "step", "weights_sha256", "parameters_sha256", "network", "backbone", "image_size")
    assert all(result[field] is None for field in network) and result["baselines"] == {}


def test_labels_may_come_from_a_folder(folder, boxes):
    arguments = "--manifest=pfenet.json --predictions=pasted_box_pfenet --output=out/again.json"
    done = command(folder, *arguments.split(), "--masks=VOCdevkit/VOC2012/SegmentationClassAug")
    assert done.returncode == 0, done.stderr
    again, result = (json.loads((folder / "out" / f"{name}.json").read_text()) for name in ("again", "box"))
    differ = {field for field in result if result[field] != again[field]}
    assert differ <= {"name", "data_sha256", "date"} and again["data_sha256"] is None
    assert Image.open(folder / "out" / "again.sheet.png").size == Image.open(folder / "out" / "box.sheet.png").size


def test_masks_for_hsnet_are_400_x_400(folder, boxes):
    masks = predict(folder, "pasted_box", "hsnet.json.gz")
    arguments = f"--manifest=hsnet.json.gz --predictions={masks} --data_dir=data --output=out/hsnet.json"
    done = command(folder, *arguments.split())
    assert done.returncode == 0, done.stderr
    hsnet, box = (json.loads((folder / "out" / f"{name}.json").read_text()) for name in ("hsnet", "box"))
    assert hsnet["scoring"] == "400 x 400" and hsnet["miou"] == pytest.approx(box["miou"], abs=1)
    assert hsnet["episodes_sha256"] == box["episodes_sha256"]
    done = command(folder, *arguments.replace(masks, "pasted_box_pfenet").split())
    assert done.returncode == 2 and "20 of the wrong size (000000.png has " in done.stderr
    assert " pixels instead of 400 x 400, " in done.stderr


def test_older_manifests_without_class_values_are_scored(folder, boxes):
    manifest = json.loads((folder / "pfenet.json").read_text())
    for name in ("class_ids", "scoring", "sha256", "split"):
        del manifest[name]
    (folder / "old.json").write_text(json.dumps(manifest))
    expected = json.loads((folder / "out" / "box.json").read_text())
    for labels in ("--data_dir=data", "--masks=VOCdevkit/VOC2012/SegmentationClassAug"):
        arguments = f"--manifest=old.json --predictions=pasted_box_pfenet --output=out/old.json {labels}"
        done = command(folder, *arguments.split())
        assert done.returncode == 0, done.stderr
        again = json.loads((folder / "out" / "old.json").read_text())
        assert all(again[field] == expected[field] for field in ("class_iou", "interval95", "left_out", "scoring"))
    (folder / "custom.json").write_text(json.dumps(manifest | {"dataset": "custom", "fold": 0}))
    done = command(folder, *arguments.replace("old.json", "custom.json").split())
    sentence = (
        "manifest custom.json: episode 0: bus is not one of the novel classes of fold 0; class_ids names these.\n"
    )
    assert (done.returncode, done.stderr) == (2, sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "give either --data_dir or --masks, for the labels."),
        ("--data_dir=data --masks=masks", "give either --data_dir or --masks, for the labels."),
        ("--data_dir=data --predictions=none", "none is not a folder; give one with a mask for each episode: 000000"),
        ("--data_dir=data --output=data", "--output=data is a folder; give the name of a file."),
        ("--data_dir=data --predictions=data", "do not fit the manifest's 20 episodes: 20 missing (000000.png, "),
        ("--data_dir=data --output=pfenet.json/r.json", "--output=pfenet.json/r.json cannot be written."),
        ("--masks=none", "none is not a folder; give one with the labels: ID.png with class indices."),
        ("--masks=data", "data lacks 12 of the 12 masks that the manifest needs: val_"),
        ("--data_dir=none", "data.data_dir none holds no prepared pascal5i; prepare it with: python scripts/prepare_"),
    ],
)
def test_impossible_scores_are_refused_in_one_sentence(folder, boxes, arguments, sentence):
    common = "--manifest=pfenet.json --predictions=pasted_box_pfenet --output=bad/r.json"
    done = command(folder, *common.split(), *arguments.split())
    assert (done.returncode, done.stdout) == (2, "") and sentence in done.stderr.splitlines()[-1]
    assert not (folder / "bad").exists()


def test_scoring_imports_no_jax(folder, boxes):
    """Runs in a new process, because the tests have imported jax."""
    code = """
import sys
from mmnet_jax import score
score.define_flags()
try:
    score.run(score.main)
except SystemExit as end:
    print("jax" in sys.modules, "flax" in sys.modules, end.code)
"""
    arguments = "--manifest=pfenet.json --predictions=pasted_box_pfenet --data_dir=data --output=out/own.json"
    done = subprocess.run([sys.executable, "-c", code, *arguments.split()], cwd=folder, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False None", done.stderr
