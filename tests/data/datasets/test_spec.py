"""Which classes a fold holds out."""

from __future__ import annotations

import pytest

from mmnet_jax.data.datasets import DATASETS

PASCAL, COCO = DATASETS["pascal5i"], DATASETS["coco20i"]


def test_pascal_folds_are_contiguous():
    assert PASCAL.classes(0, "novel") == (1, 2, 3, 4, 5)
    assert PASCAL.classes(3, "novel") == (16, 17, 18, 19, 20)
    assert [PASCAL.class_names[c] for c in PASCAL.classes(1, "novel")] == ["bus", "car", "cat", "chair", "cow"]


def test_coco_folds_take_every_fourth_class():
    assert COCO.classes(0, "novel")[:3] == (1, 5, 9)
    assert COCO.classes(3, "novel")[-2:] == (76, 80)


@pytest.mark.parametrize("spec", DATASETS.values(), ids=DATASETS)
def test_every_class_is_novel_in_one_fold_and_base_in_the_others(spec):
    every = list(range(1, len(spec.class_names)))
    assert sorted(c for fold in range(spec.folds) for c in spec.classes(fold, "novel")) == every
    for fold in range(spec.folds):
        assert sorted(spec.classes(fold, "base") + spec.classes(fold, "novel")) == every


def test_other_folds_and_parts_are_refused():
    with pytest.raises(ValueError, match="fold must be 0 to 3, but is 7"):
        PASCAL.classes(7, "novel")
    with pytest.raises(ValueError, match="part must be 'base' or 'novel', but is 'test'"):
        PASCAL.classes(0, "test")
