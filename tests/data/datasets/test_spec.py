"""Folds of the declared datasets, and a new dataset made by a declaration alone."""

import dataclasses
import functools

import numpy as np
import pytest

from mmnet_jax.config import get_config, resolve
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, contiguous
from mmnet_jax.data.episodes import training_index
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest

PASCAL, COCO = DATASETS["pascal5i"], DATASETS["coco20i"]


def test_folds_of_pascal_are_contiguous_and_those_of_coco_interleaved_or_contiguous():
    assert PASCAL.classes(3, "novel") == (16, 17, 18, 19, 20)
    assert [PASCAL.class_names[c] for c in PASCAL.classes(1, "novel")] == ["bus", "car", "cat", "chair", "cow"]
    assert COCO.classes(0, "novel")[:3] == (1, 5, 9) and COCO.classes(3, "novel")[-2:] == (76, 80)
    assert COCO.classes(1, "novel", "contiguous") == tuple(range(21, 41))
    assert COCO.classes(1, "base", "contiguous")[:21] == (*range(1, 21), 41)
    with pytest.raises(UserError, match="fold of pascal5i must be 0 to 3, but is 7"):
        PASCAL.classes(7, "novel")


FOLDED = [(spec, folds) for spec in DATASETS.values() if spec.folds > 1 for folds in spec.novel]


@pytest.mark.parametrize(("spec", "folds"), FOLDED)
def test_every_class_is_novel_in_one_fold_and_base_in_the_others(spec, folds):
    every = list(range(1, len(spec.class_names)))
    assert sorted(c for fold in range(spec.folds) for c in spec.classes(fold, "novel", folds)) == every
    for fold in range(spec.folds):
        assert sorted(spec.classes(fold, "base", folds) + spec.classes(fold, "novel", folds)) == every


def test_val_classes_are_neither_base_nor_novel():
    spec = dataclasses.replace(PASCAL, val=(19, 20))
    assert spec.classes(0, "base") == tuple(range(6, 19))
    assert (spec.classes(0, "novel"), spec.classes(0, "val")) == ((1, 2, 3, 4, 5), (19, 20))
    assert PASCAL.classes(0, "val") == ()


def draw_stripe(n):
    """A grey image; the upper half of number n is class 1 + n % 4."""
    image, mask = np.full((8, 8), n, np.uint8), np.zeros((8, 8), np.uint8)
    mask[:4] = 1 + n % 4
    return Example(png_bytes(image), png_bytes(mask), f"image {n}", f"mask {n}")


def list_stripes(source, variant):
    """Listings of the numbers in a file."""
    numbers = [int(n) for n in (source / f"{variant}.txt").read_text().split()]
    halves = {"train": numbers[::2] + numbers[1::2], "val": numbers}
    return {
        split: Listing([f"stripe{n}" for n in part], part, draw_stripe, len(part)) for split, part in halves.items()
    }


def test_a_new_dataset_is_one_declaration(monkeypatch, tmp_path):
    stripes = DatasetSpec(
        name="stripes",
        class_names=("background", "ant", "bee", "crow", "dove"),
        novel={"contiguous": contiguous(2)},
        folds=2,
        build=list_stripes,
        variants={"odd": "stripes_small"},
        source="PAPER",
        min_pixels=30,
        episodes={"pfenet": 7},
    )
    monkeypatch.setitem(DATASETS, "stripes", stripes)
    source, data_dir = tmp_path / "paper", tmp_path / "data"
    source.mkdir()
    (source / "odd.txt").write_text(" ".join(map(str, range(16))))
    prepare("stripes", source, data_dir)
    text = summary("stripes", data_dir, "odd")
    assert "train: found 16 of 16 images" in text and "--config=configs/stripes_small.py" in text

    config = get_config()
    config.fold = 1
    config.data.update(dataset="stripes", data_dir=str(data_dir), min_pixels=30)  # variant and folds: its only ones
    dataset = open_dataset(*dataset_choice(resolve(config)))
    manifest = draw_manifest(dataset, fold=1, shots=1, protocol="pfenet", seeds=(0,), min_pixels=30)
    assert [e.query for e in manifest.episodes] == [f"stripe{n}" for n in (2, 3, 6, 7, 10, 11, 14)]
    assert {e.class_id for e in manifest.specs(dataset)} == {3, 4}
    index = training_index(dataset, 1, 1, 30)
    batch = next(training_batches(functools.partial(load_episodes, dataset.train), index, seed=0, batch_size=4))
    assert (batch.labels[:, 0, :4] == 1).all() and (batch.images[:, 0] % 4 < 2).all()
    with pytest.raises(UserError, match=r"prepare_data.py stripes --source=PAPER --data_dir=\S+/none$"):
        open_dataset("stripes", tmp_path / "none", "odd")
