"""Classes unseen in a training on another dataset, and the episodes drawn from them."""

import numpy as np
import pytest

from mmnet_jax.data.dataset import Dataset, Split, find_spec, listed_dataset
from mmnet_jax.data.datasets.coco20i import COCO20I
from mmnet_jax.data.datasets.fss1000 import FSS1000
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.datasets.unseen import seen_classes, with_unseen
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest, manifest_text, read_manifest


def kept_by(spec, folds):
    return [[spec.class_names[c] for c in spec.classes(fold, "novel", folds)] for fold in range(spec.folds)]


def seen_by(spec, folds, fold):
    return [spec.class_names[c] for c in seen_classes(spec, COCO20I, folds, fold)]


def test_classes_of_pascal_are_kept_if_their_coco_counterpart_is_novel():
    kept = kept_by(find_spec("pascal5i", "coco20i_interleaved"), "coco20i_interleaved")
    assert kept[0] == ["aeroplane", "boat", "chair", "diningtable", "dog", "person"]
    assert kept[1] == ["bicycle", "bus", "horse", "sofa"]
    assert kept[2] == ["bird", "car", "pottedplant", "sheep", "train", "tvmonitor"]
    assert kept[3] == ["bottle", "cat", "cow", "motorbike"]
    for fold, names in enumerate(kept):
        assert sorted(names + seen_by(PASCAL5I, "interleaved", fold)) == sorted(PASCAL5I.class_names[1:])


def test_contiguous_folds_keep_what_repri_keeps():
    kept = kept_by(find_spec("pascal5i", "coco20i_contiguous"), "coco20i_contiguous")
    assert kept[1:] == [["bottle"], ["chair", "pottedplant", "sofa"], ["diningtable", "tvmonitor"]]
    assert len(kept[0]) == 14


def test_class_names_match_in_any_spelling_and_only_test_classes_are_kept():
    spec = find_spec("fss1000", "coco20i_interleaved")
    seen = [seen_by(FSS1000, "interleaved", fold) for fold in range(4)]
    assert seen[1] == ["doughnut", "knife", "motorbike", "toaster"]
    for fold, classes in enumerate(kept_by(spec, "coco20i_interleaved")):
        assert not set(classes) & set(seen[fold]) and len(classes) + len(seen[fold]) == 240
    assert find_spec("fss1000", "own") is FSS1000 and find_spec("pascal5i", "custom_folds") is PASCAL5I


@pytest.fixture
def pascal():
    """Nine images: four of the bus, two of a dog and too little of a bus, three of persons."""
    person, dog, bus = (PASCAL5I.class_names.index(name) for name in ("person", "dog", "bus"))
    counts = np.zeros((9, 21), np.int64)
    counts[:4, bus] = 3000
    counts[4:6, [bus, dog]] = 10, 5000
    counts[6:, person] = 5000
    split = Split("val", [f"{i:03d}" for i in range(9)], counts, [], 500)
    folds = "coco20i_interleaved"
    return Dataset(with_unseen(PASCAL5I, COCO20I, "interleaved"), split, split, "protocol", folds)


def test_repris_episodes_have_only_kept_classes_and_round_trip_through_their_file(pascal, tmp_path):
    rules = {"fold": 1, "shots": 1, "protocol": "pfenet", "min_pixels": 2048}
    manifest = draw_manifest(pascal, **rules, seeds=(321,))
    assert len(manifest.episodes) == 1_000 and {e.class_name for e in manifest.episodes} == {"bus"}
    assert {e.query for e in manifest.episodes} == {"000", "001", "002", "003"}
    assert manifest.choices == {"split": "protocol", "folds": "coco20i_interleaved"}
    (tmp_path / "m.json").write_text(manifest_text(manifest))
    assert read_manifest(tmp_path / "m.json") == read_manifest(tmp_path / "m.json", dataset=pascal) == manifest
    with pytest.raises(UserError, match=r"^protocol hsnet has lists of the contiguous folds of pascal5i alone"):
        draw_manifest(pascal, **rules | {"protocol": "hsnet"}, seeds=(0,))


def test_hsnets_episodes_of_fss1000_leave_out_the_classes_that_were_trained_on():
    fss = listed_dataset("fss1000", "protocol", "coco20i_interleaved")
    manifest = draw_manifest(fss, fold=1, shots=1, protocol="hsnet", seeds=(0,), min_pixels=1)
    asked = [e.class_name for e in manifest.episodes]
    assert len(asked) == 2_400 and len(set(asked)) == len(manifest.class_ids) == 236
    assert not {"doughnut", "knife", "motorbike", "toaster"} & set(asked) and {"bus", "pizza"} < set(asked)
    assert manifest.episodes[0].query.endswith("/1") and manifest.episodes[1].query.endswith("/10")
