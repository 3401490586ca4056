"""Metrics of counted pixels: class IoU, mIoU, FB-IoU, and a bootstrap interval of the mIoU (NumPy, float64)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from mmnet_jax.errors import UserError

Counts = Integer[np.ndarray, " e *t"]
"""Pixels of E episodes, by one method or by T of them."""
ClassIds = Integer[np.ndarray, " e"]
RESAMPLES = 1000
CHUNK = 2_000_000
"""Draws of episodes (or other units) that the bootstrap holds in memory at once."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """The metrics of one method over one list of episodes, in percent."""

    miou: float
    """Mean of ``class_iou``."""
    fb_iou: float
    """Mean of the pooled foreground IoU and the pooled background IoU."""
    class_iou: dict[int, float]
    """For each class that occurs: the sum of its episodes' intersections over the sum of their unions."""
    interval95: tuple[float, float]
    """Bootstrap interval of ``miou`` over episodes."""


def score(intersection: Integer[np.ndarray, "e 2"], union: Integer[np.ndarray, "e 2"], class_ids: ClassIds) -> Scores:
    """The metrics of E episodes from the pixels in each one's intersection and union of prediction and label.

    The last axis is background, foreground. Raises ``UserError`` where no episode has a foreground pixel in either.
    """
    classes, sums_i, sums_u = class_sums(intersection[:, 1], union[:, 1], class_ids)
    ious = 100 * sums_i[:, 0] / sums_u[:, 0]
    pooled_i, pooled_u = intersection.sum(0, dtype=np.int64), union.sum(0, dtype=np.int64)
    seen = pooled_u > 0
    return Scores(
        miou=float(ious.mean()),
        fb_iou=float((100 * pooled_i[seen] / pooled_u[seen]).mean()),
        class_iou={int(c): float(iou) for c, iou in zip(classes, ious, strict=True)},
        interval95=interval_of(bootstrap_draws(intersection[:, 1], union[:, 1], class_ids)[:, 0]),
    )


def class_sums(
    intersection: Counts, union: Counts, class_ids: ClassIds
) -> tuple[Integer[np.ndarray, " c"], Integer[np.ndarray, "c t"], Integer[np.ndarray, "c t"]]:
    """Intersections and unions summed over each class's episodes, for one method or for T of them at once.

    Returns the classes whose union is above 0 for every method, ascending, and their sums; ``UserError`` if there is
    no such class.
    """
    classes, sums = _sums(intersection, union, class_ids, np.zeros_like(class_ids))
    seen = (sums[0, 1] > 0).all(axis=1)
    if not seen.any():
        raise UserError("no episode has foreground in its label or its prediction.")
    return classes[seen], sums[0, 0, seen], sums[0, 1, seen]


def bootstrap_draws(
    intersection: Counts,
    union: Counts,
    class_ids: ClassIds,
    *,
    units: Integer[np.ndarray, " e"] | None = None,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Float[np.ndarray, "r t"]:
    """The mIoU (percent) of each of R draws with replacement, for one method or for T of them at once.

    As many units are drawn as there are, each with all of its episodes; a unit is an episode if ``units`` (such as
    query images) is None. All methods are scored on the same draws, so that the difference of two columns is that of
    paired episodes. A class that a draw misses is left out of that draw's mean.
    """
    units = np.arange(len(class_ids)) if units is None else units
    parts = _sums(intersection, union, class_ids, units)[1].astype(np.float64)  # which holds these sums exactly
    count = len(parts)
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK // count)
    means: list[Float[np.ndarray, "r t"]] = []
    for start in range(0, resamples, chunk):
        drawn = random.integers(count, size=(min(chunk, resamples - start), count))
        rows = np.arange(len(drawn))[:, None] * count
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums_i, sums_u = np.moveaxis(np.tensordot(times.astype(np.float64), parts, 1), 1, 0)
        seen = sums_u > 0
        ious = np.divide(sums_i, sums_u, out=np.zeros_like(sums_i), where=seen)
        means.append(100 * ious.sum(1) / np.maximum(seen.sum(1), 1))
    return np.concatenate(means)


def _sums(
    intersection: Counts, union: Counts, class_ids: ClassIds, units: Integer[np.ndarray, " e"]
) -> tuple[Integer[np.ndarray, " c"], Integer[np.ndarray, "u 2 c t"]]:
    """The classes, ascending, and the sums of each unit's episodes of each class, as int64."""
    (classes, of_class), (names, of_unit) = (np.unique(ids, return_inverse=True) for ids in (class_ids, units))
    counts = np.stack([intersection, union], axis=1).reshape(len(class_ids), 2, -1)
    sums = np.zeros((len(names), len(classes), *counts.shape[1:]), np.int64)
    np.add.at(sums, (of_unit, of_class), counts)
    return classes, sums.swapaxes(1, 2)


def interval_of(draws: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The percentile interval that holds 95% of the draws."""
    low, high = np.quantile(draws, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def best_threshold(
    above: Integer[np.ndarray, "e 2 t"], class_ids: ClassIds
) -> tuple[float, Integer[np.ndarray, "e 2"], Integer[np.ndarray, "e 2"]]:
    """The confidence threshold that maximises mIoU on these episodes (an oracle; the lowest of equals).

    ``above`` counts the background and foreground pixels of each label at or above each of T thresholds, evenly spaced
    from 0 (where every pixel is) to 1. Returns the threshold and each episode's intersection and union at it.
    """
    above = np.asarray(above, np.int64)
    area = above[:, :, :1]
    intersection = np.stack([area[:, 0] - above[:, 0], above[:, 1]], axis=1)
    union = np.stack([area[:, 0] + area[:, 1] - above[:, 1], area[:, 1] + above[:, 0]], axis=1)
    _, sums_i, sums_u = class_sums(intersection[:, 1], union[:, 1], class_ids)
    best = int(np.argmax((sums_i / sums_u).mean(0)))
    return best / (above.shape[2] - 1), intersection[..., best], union[..., best]
