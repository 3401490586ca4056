"""Paired comparison of results: mIoU and differences over folds and training seeds, with 95% intervals.

A number over several folds is the mean over folds of the mean over each fold's runs, such as training seeds. Intervals
bootstrap over query images, separately for each fold; a drawn image brings all its episodes, because a protocol uses
each test image several times and its episodes are not independent. Both sides of a difference, and all runs of a fold,
share the draws. ``interval95`` takes the trained networks as fixed. ``seeds95`` includes the variance between
trainings: a hierarchical bootstrap, in which each draw of query images also draws runs of each fold.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import class_ious, interval_of, mean_iou, nan_mean
from mmnet_jax.evaluation.stored import OWN, StoredResult

Key = tuple[int, int]
"""Fold, and run of this fold: its training seed or its number."""
RULES = ("dataset", "coco_masks", "folds", "fold", "classes", "shots", "protocol", "scoring", "seeds")
"""Fields in which comparable results agree; older results lack some of them."""


class NotComparable(UserError):
    """Two results have different episodes or were scored by different rules."""


class Estimate(NamedTuple):
    """A number with its bootstrap interval, in percent; a difference in points."""

    value: float
    interval95: tuple[float, float]
    opposite: float
    """Fraction of the draws in which a difference has the opposite sign or is 0."""
    seeds95: tuple[float, float] | None = None
    """Interval over training seeds and query images; None if a fold has results of a single training."""
    seeds_opposite: float | None = None
    """``opposite`` over the draws of ``seeds95``."""


@dataclasses.dataclass(frozen=True)
class Resampled:
    """IoUs of one method on one list of episodes, with those of every bootstrap draw."""

    result: StoredResult
    classes: tuple[str, ...]
    """Names of the classes that occur, in alphabetical order."""
    ious: Float[np.ndarray, "r s c 1"]
    """From ``class_ious``."""

    def draws(self, class_name: str | None = None) -> Float[np.ndarray, " r"]:
        """mIoU, or the IoU of one class (NaN in draws without it): over all episodes, then for each draw."""
        if class_name is None:
            return mean_iou(self.ious)[:, 0]
        return nan_mean(self.ious[:, :, self.classes.index(class_name), 0], axis=1)


Parts = Mapping[Key, Resampled]
"""The results of one row of a table."""


def resample(result: StoredResult, method: str = OWN) -> Resampled:
    """Bootstraps a result or one of its baselines; a ``UserError`` if its table has no counts of that baseline."""
    if method not in result.counts:
        found = ", ".join(name for name in result.counts if name != OWN) or "none"
        raise UserError(
            f"the table of episodes has no counts of the baseline {method} (it has {found}); name one of these, or "
            "evaluate again if the table is of an older version."
        )
    counts, queries = result.counts[method], [episode.query for episode in result.episodes]
    names, class_ids = np.unique([episode.class_name for episode in result.episodes], return_inverse=True)
    pixels = counts[:, 0], counts[:, 1]
    seen, ious = class_ious(*pixels, class_ids, queries, seeds=result.seeds, fold=result.fold)
    return Resampled(result, tuple(names[seen].tolist()), ious)


def miou(parts: Parts, class_name: str | None = None) -> Estimate:
    """mIoU, or the IoU of one class; its intervals are within 0 and 100."""
    found = _estimate({key: part.draws(class_name) for key, part in parts.items()}, _several_trainings(parts))
    if found.seeds95 is None:
        return found
    low, high = found.seeds95
    return found._replace(seeds95=(max(low, 0.0), min(high, 100.0)))


def difference(ours: Parts, theirs: Parts, class_name: str | None = None) -> Estimate:
    """``miou`` of one row minus that of another, paired by query image.

    Raises ``NotComparable`` if two results with the same key differ in their rules, episodes or labels.
    """
    for key, our in ours.items():
        if differing := _differing(our.result, theirs[key].result):
            raise NotComparable(f"the results of fold {key[0]} differ in {differing}.")
    draws = {key: our.draws(class_name) - theirs[key].draws(class_name) for key, our in ours.items()}
    return _estimate(draws, _several_trainings(ours) or _several_trainings({key: theirs[key] for key in ours}))


def _differing(ours: StoredResult, theirs: StoredResult) -> str:
    """The rules, episodes or labels in which two results differ; empty if they are comparable."""
    pairs = {name: (ours.summary.get(name), theirs.summary.get(name)) for name in RULES}
    differing = [f"{name} ({a} and {b})" for name, (a, b) in pairs.items() if a != b and None not in (a, b)]
    if differing:
        return ", ".join(differing)
    if ours.episodes == theirs.episodes:
        return ""
    if len(ours.episodes) != len(theirs.episodes):
        return f"the number of episodes ({len(ours.episodes):,} and {len(theirs.episodes):,})"
    for noun, fields in {"episodes": 3, "label areas": 4}.items():
        columns = [[[*map(str, episode)][:fields] for episode in result.episodes] for result in (ours, theirs)]
        if unlike := [number for number, (a, b) in enumerate(zip(*columns, strict=True)) if a != b]:
            a, b = (", ".join(column[unlike[0]]) for column in columns)
            return f"{len(unlike):,} of {len(ours.episodes):,} {noun} (number {unlike[0]}: {a}; and {b})"
    raise AssertionError("the episodes differ")


def _several_trainings(parts: Parts) -> bool:
    """Whether each fold has several results, all of different networks (assumed if a result does not name its own)."""
    networks: dict[int, list[str]] = {}
    for (fold, run), part in parts.items():
        networks.setdefault(fold, []).append(part.result.summary.get("parameters_sha256") or f"run {run}")
    return all(len(set(of_fold)) == len(of_fold) > 1 for of_fold in networks.values())


def _estimate(parts: Mapping[Key, Float[np.ndarray, " r"]], several_trainings: bool) -> Estimate:
    """The mean over folds of the mean over runs, for each draw."""
    folds = sorted({fold for fold, _ in parts})
    by_fold = [np.stack([parts[key] for key in sorted(parts) if key[0] == fold]) for fold in folds]
    value, *draws = np.mean([runs.mean(axis=0) for runs in by_fold], axis=0)

    def interval(draws: Float[np.ndarray, " r"]) -> tuple[tuple[float, float], float]:
        known = draws[~np.isnan(draws)]
        return interval_of(known), float(np.mean(known * np.sign(value) <= 0))

    estimate = Estimate(float(value), *interval(np.array(draws)))
    if not several_trainings:
        return estimate
    drawn = [_draw_runs(runs[:, 1:], fold) for runs, fold in zip(by_fold, folds, strict=True)]
    return Estimate(*estimate[:3], *interval(np.mean(drawn, axis=0)))


def _draw_runs(runs: Float[np.ndarray, "s r"], fold: int) -> Float[np.ndarray, " r"]:
    """For each of R draws of query images, the mean of S runs drawn with replacement.

    A few runs vary less around their own mean than around the true one. Deviations are therefore scaled by
    ``sqrt(S / (S - 1)) t / z``, with the 97.5% points of Student's t distribution (S - 1 degrees of freedom) and of the
    normal distribution: 2.7 for 3 runs, 1.6 for 5 (coverage: results/coverage.md).
    """
    count, draws = runs.shape
    picked = np.random.default_rng((fold, count)).integers(count, size=(count, draws))
    mean = runs.mean(axis=0)
    scale = np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.975) / ndtri(0.975)
    return mean + scale * (np.take_along_axis(runs, picked, axis=0).mean(axis=0) - mean)
