"""Paired comparison of results: mIoU and differences over folds and runs, with 95% intervals.

A number over several folds is the mean over folds of the means over the runs of each (several seeds of a training, for
example). Intervals bootstrap over query images, separately for each fold; all episodes of a drawn image come with it,
because a protocol uses each test image several times and its episodes are not independent. Both sides of a difference,
and all runs of a fold, use the same draws. The trained networks are fixed: no interval includes the variance between
trainings.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import class_ious, interval_of, mean_iou, mean_seen
from mmnet_jax.evaluation.stored import OWN, StoredResult

Key = tuple[int, int]
"""Fold, and the run of this fold: its seed, or its number."""
RULES = ("dataset", "coco_masks", "folds", "fold", "classes", "shots", "protocol", "scoring", "seeds")
"""Fields of a result in which comparable ones agree; results written before lack some."""


class UnlikeResults(UserError):
    """Two results are of different episodes, or were scored by different rules."""


class Estimate(NamedTuple):
    """A number with its bootstrap interval, in percent; a difference in points."""

    value: float
    interval95: tuple[float, float]
    opposite: float
    """Share of the draws in which a difference has the opposite sign, or is 0."""


@dataclasses.dataclass(frozen=True)
class Resampled:
    """One method on one list of episodes: its IoUs, and those of every bootstrap draw."""

    result: StoredResult
    classes: tuple[str, ...]
    """Those that occur, in alphabetical order."""
    ious: Float[np.ndarray, "r s c 1"]
    """From ``class_ious``."""

    def draws(self, class_name: str | None = None) -> Float[np.ndarray, " r"]:
        """mIoU, or the IoU of one class (NaN where a draw misses it): of all episodes, then of each draw."""
        if class_name is None:
            return mean_iou(self.ious)[:, 0]
        return mean_seen(self.ious[:, :, self.classes.index(class_name), 0], axis=1)


Parts = Mapping[Key, Resampled]
"""The results behind one row of a table."""


def resample(result: StoredResult, method: str = OWN) -> Resampled:
    """Bootstraps a result, or one of its baselines; raises a ``UserError`` if its table has no counts of that."""
    if method not in result.counts:
        there = ", ".join(name for name in result.counts if name != OWN) or "none"
        raise UserError(
            f"the table of episodes has no counts of the baseline {method} (there is {there}); tables written before "
            "have none: evaluate again."
        )
    counts, queries = result.counts[method], [episode.query for episode in result.episodes]
    names, class_ids = np.unique([episode.class_name for episode in result.episodes], return_inverse=True)
    pixels = counts[:, 0], counts[:, 1]
    seen, ious = class_ious(*pixels, class_ids, queries, seeds=result.seeds, fold=result.fold)
    return Resampled(result, tuple(names[seen].tolist()), ious)


def miou(parts: Parts, class_name: str | None = None) -> Estimate:
    """mIoU, or the IoU of one class."""
    return _estimate({key: part.draws(class_name) for key, part in parts.items()})


def difference(ours: Parts, theirs: Parts, class_name: str | None = None) -> Estimate:
    """``miou`` of one row minus that of another, paired by query image.

    Raises ``UnlikeResults`` where two results of a key differ in their rules, episodes or labels.
    """
    for key, own in ours.items():
        if differing := _unlike(own.result, theirs[key].result):
            raise UnlikeResults(f"the results of fold {key[0]} differ in {differing}.")
    return _estimate({key: own.draws(class_name) - theirs[key].draws(class_name) for key, own in ours.items()})


def _unlike(ours: StoredResult, theirs: StoredResult) -> str:
    """What makes two results incomparable; empty if nothing does."""
    pairs = {name: (ours.summary.get(name), theirs.summary.get(name)) for name in RULES}
    differing = [f"{name} ({a} and {b})" for name, (a, b) in pairs.items() if a != b and None not in (a, b)]
    if differing:
        return ", ".join(differing)
    if ours.episodes == theirs.episodes:
        return ""
    if len(ours.episodes) != len(theirs.episodes):
        return f"the number of episodes ({len(ours.episodes):,} and {len(theirs.episodes):,})"
    for what, fields in {"episodes": 3, "label areas": 4}.items():
        columns = [[[*map(str, episode)][:fields] for episode in one.episodes] for one in (ours, theirs)]
        if unlike := [number for number, (a, b) in enumerate(zip(*columns, strict=True)) if a != b]:
            a, b = (", ".join(one[unlike[0]]) for one in columns)
            return f"{len(unlike):,} of {len(ours.episodes):,} {what} (number {unlike[0]}: {a}; and {b})"
    raise AssertionError("the episodes differ")


def _estimate(parts: Mapping[Key, Float[np.ndarray, " r"]]) -> Estimate:
    """The mean over folds of the means over runs, taken draw by draw."""
    folds = sorted({fold for fold, _ in parts})
    by_fold = [np.mean([part for key, part in parts.items() if key[0] == fold], axis=0) for fold in folds]
    value, *draws = np.mean(by_fold, axis=0)
    known = np.array(draws)[~np.isnan(draws)]
    return Estimate(float(value), interval_of(known), float(np.mean(known * np.sign(value) <= 0)))
