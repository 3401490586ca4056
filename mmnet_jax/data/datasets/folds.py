"""Names of the classes, and which of them a fold holds out."""

from __future__ import annotations

from typing import Literal

PASCAL_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Mask index -> name; 255 in a mask means unknown and has none."""

FOLDS = 4


def _contiguous_novel(fold: int) -> tuple[int, ...]:
    return tuple(range(5 * fold + 1, 5 * fold + 6))


def _coco_novel(fold: int) -> tuple[int, ...]:
    # The paper counts folds 1..4 here, which would leave the 80 classes; 0..3 is what the released lists do.
    return tuple(4 * x - 3 + fold for x in range(1, 21))


_DATASETS = {"pascal5i": (20, _contiguous_novel), "coco20i": (80, _coco_novel), "creatures": (20, _contiguous_novel)}


def fold_classes(dataset_name: str, fold: int, part: Literal["base", "novel"]) -> tuple[int, ...]:
    """Class indices of one part of a fold, ascending.

    Args:
      dataset_name: ``"pascal5i"`` or ``"creatures"`` (fold i holds out 5i+1..5i+5), or ``"coco20i"`` (4x-3+i for
        x = 1..20).
      fold: 0..3.
      part: ``"novel"``, the classes held out for testing, or ``"base"``, all the others, for training.

    Raises:
      ValueError: if one of them is none of these.
    """
    if dataset_name not in _DATASETS:
        raise ValueError(f"dataset_name must be one of {', '.join(_DATASETS)}, but is {dataset_name!r}.")
    if fold not in range(FOLDS):
        raise ValueError(f"fold must be 0, 1, 2 or 3, but is {fold!r}.")
    classes, novel_of = _DATASETS[dataset_name]
    novel = novel_of(fold)
    if part == "novel":
        return novel
    if part == "base":
        return tuple(c for c in range(1, classes + 1) if c not in novel)
    raise ValueError(f"part must be 'base' or 'novel', but is {part!r}.")
