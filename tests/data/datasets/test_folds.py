"""Which classes a fold holds out."""

from __future__ import annotations

import pytest

from mmnet_jax.data.datasets.folds import PASCAL_CLASSES, fold_classes


def test_pascal_folds_are_contiguous():
    assert fold_classes("pascal5i", 0, "novel") == (1, 2, 3, 4, 5)
    assert fold_classes("pascal5i", 3, "novel") == (16, 17, 18, 19, 20)
    assert [PASCAL_CLASSES[c] for c in fold_classes("pascal5i", 1, "novel")] == ["bus", "car", "cat", "chair", "cow"]


def test_coco_folds_take_every_fourth_class():
    assert fold_classes("coco20i", 0, "novel")[:3] == (1, 5, 9)
    assert fold_classes("coco20i", 3, "novel")[-2:] == (76, 80)


@pytest.mark.parametrize(("dataset", "classes"), [("pascal5i", 20), ("coco20i", 80)])
def test_every_class_is_novel_in_one_fold_and_base_in_the_others(dataset, classes):
    novel = [c for fold in range(4) for c in fold_classes(dataset, fold, "novel")]
    assert sorted(novel) == list(range(1, classes + 1))
    for fold in range(4):
        both = fold_classes(dataset, fold, "base") + fold_classes(dataset, fold, "novel")
        assert sorted(both) == list(range(1, classes + 1))


def test_other_folds_parts_and_datasets_are_refused():
    with pytest.raises(ValueError, match="fold must be 0, 1, 2 or 3, but is 7"):
        fold_classes("pascal5i", 7, "novel")
    with pytest.raises(ValueError, match="part must be 'base' or 'novel', but is 'test'"):
        fold_classes("pascal5i", 0, "test")
    with pytest.raises(ValueError, match="dataset_name must be one of pascal5i, coco20i, creatures, but is 'voc'"):
        fold_classes("voc", 0, "novel")
