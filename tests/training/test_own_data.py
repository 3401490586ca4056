"""A dataset of class folders is prepared, trained on and evaluated."""

import json

import numpy as np
from PIL import Image

from mmnet_jax.config import resolve
from mmnet_jax.data.prepare import prepare
from mmnet_jax.training.stages import EXAMPLE, train
from mmnet_jax.workdir.folder import Workdir
from tests.data.synthetic import encoded, jpeg
from tests.training.tiny_training import tiny_config

NAMES = ["beetle", "leaf", "moth", "snail"]
SIZE = 36, 48  # the sides of the other tiny dataset, so that its compiled functions serve here


def write_folders(source):
    """Writes three images of each class: a bright rectangle on noise, and its mask."""
    for c, name in enumerate(NAMES):
        (source / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng([c, i]).integers(0, 120, (*SIZE, 3), dtype=np.uint8)
            mask = np.zeros(SIZE, np.uint8)
            mask[4 * i : 20 + 4 * i, 8:30] = 255
            pixels[mask > 0] += np.uint8([30 * c, 90, 0])
            (source / name / f"{i}.jpg").write_bytes(jpeg(pixels))
            (source / name / f"{i}_mask.png").write_bytes(encoded(mask))


def test_class_folders_are_trained_on_and_evaluated(tmp_path):
    write_folders(tmp_path / "source")
    prepare("custom", tmp_path / "source", tmp_path / "data", folds=2)
    config = tiny_config(evaluation_episodes=0)
    config.data.update(dataset="custom", data_dir=str(tmp_path / "data"), drop_novel=True, min_pixels=None)
    config.data.split = config.data.folds = None
    config.evaluation.update(after_training=True, episodes=6)
    workdir = Workdir(tmp_path / "run")
    lines = []
    scored = train(resolve(config), workdir, lines.append)
    assert "[1/2] training: MM-Net's head, 1-shot, 2 base classes (beetle, leaf)" in lines
    assert scored.summary["dataset"] == "custom" and list(scored.summary["class_iou"]) == ["moth", "snail"]
    manifest = json.loads((workdir.results / "result.manifest.json").read_text())
    assert {episode["query"] for episode in manifest["episodes"]} == {f"{c}/{i}" for c in NAMES[2:] for i in range(3)}
    best = max(scored.summary["class_iou"], key=scored.summary["class_iou"].get)
    support = next(e for e in manifest["episodes"] if e["class"] == best)["supports"][0]
    shown, stored = (
        np.asarray(Image.open(file))
        for file in (workdir.results / EXAMPLE / "mask.png", tmp_path / "source" / f"{support}_mask.png")
    )
    np.testing.assert_array_equal(shown, stored)
