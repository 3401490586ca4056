"""Folds for testing on one dataset after training on another: classes unseen in training (RePRI's rule)."""

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
"""Name of a class in VOC or FSS-1000 -> its name in COCO, without blanks and punctuation."""
EPISODES = 1_000
"""Default number of test episodes of such a fold by PFENet's protocol."""


def unseen_name(trained: DatasetSpec, folds: str) -> str:
    """Name of such folds, such as ``coco20i_interleaved``; ``folds`` is a key of ``trained.novel``."""
    return f"{trained.name}_{folds}"


def seen_classes(spec: DatasetSpec, trained: DatasetSpec, folds: str, fold: int) -> tuple[int, ...]:
    """Classes that are novel in some fold of ``spec`` and share their name with a base class of the training.

    Names are compared without case, blanks and punctuation, and by ``SYNONYMS``.
    """
    base = {_normalised(trained.class_names[c]) for c in trained.classes(fold, "base", folds)}
    return tuple(c for c in _novel_somewhere(spec) if _normalised(spec.class_names[c]) in base)


def with_unseen(spec: DatasetSpec, trained: DatasetSpec, folds: str) -> DatasetSpec:
    """``spec`` with the additional folds ``unseen_name``.

    Fold i tests all classes that are novel in any of its own folds, except those seen by a training on fold i of
    ``trained``.
    """
    tested = _novel_somewhere(spec)

    def novel(fold: int) -> tuple[int, ...]:
        seen = seen_classes(spec, trained, folds, fold)
        return tuple(c for c in tested if c not in seen)

    return dataclasses.replace(
        spec,
        novel={**spec.novel, unseen_name(trained, folds): novel},
        folds=trained.folds,
        episodes={"pfenet": EPISODES, **spec.episodes},
    )


def _novel_somewhere(spec: DatasetSpec) -> list[int]:
    own = spec.novel[spec.default_folds]
    return sorted({c for fold in range(spec.folds) for c in own(fold)})


def _normalised(name: str) -> str:
    plain = re.sub(r"[\W_]", "", name.lower())
    return SYNONYMS.get(plain, plain)
