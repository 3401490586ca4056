"""Folds of one dataset by a training on another: the classes that the training did not hold (RePRI's rule)."""

import dataclasses
import re

from mmnet_jax.data.datasets.spec import DatasetSpec

SYNONYMS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
    "doughnut": "donut",
}
"""Names of one class in two datasets, without blanks and punctuation: VOC's and FSS-1000's as COCO's."""
EPISODES = 1_000
"""Test episodes of such a fold by PFENet's protocol, where the dataset declares no other number."""


def unseen_name(trained: DatasetSpec, folds: str) -> str:
    """What such folds are called, ``coco20i_interleaved`` for example; ``folds`` is a key of ``trained.novel``."""
    return f"{trained.name}_{folds}"


def seen_classes(spec: DatasetSpec, trained: DatasetSpec, folds: str, fold: int) -> tuple[int, ...]:
    """The classes that ``spec`` holds out in a fold of its own, and whose name is that of a base class of the training.

    Names are compared without case, blanks and punctuation, and by ``SYNONYMS``.
    """
    base = {_key(trained.class_names[c]) for c in trained.classes(fold, "base", folds)}
    return tuple(c for c in _held_out(spec) if _key(spec.class_names[c]) in base)


def with_unseen(spec: DatasetSpec, trained: DatasetSpec, folds: str) -> DatasetSpec:
    """``spec`` with the folds ``unseen_name`` beside its own: of fold i all classes that it holds out in any of its
    own folds, without those that a training on fold i of ``trained`` has seen."""
    held_out = _held_out(spec)

    def novel(fold: int) -> tuple[int, ...]:
        seen = seen_classes(spec, trained, folds, fold)
        return tuple(c for c in held_out if c not in seen)

    return dataclasses.replace(
        spec,
        novel={**spec.novel, unseen_name(trained, folds): novel},
        folds=trained.folds,
        episodes={"pfenet": EPISODES, **spec.episodes},
    )


def _held_out(spec: DatasetSpec) -> list[int]:
    own = spec.novel[spec.default_folds]
    return sorted({c for fold in range(spec.folds) for c in own(fold)})


def _key(name: str) -> str:
    plain = re.sub(r"[\W_]", "", name.lower())
    return SYNONYMS.get(plain, plain)
