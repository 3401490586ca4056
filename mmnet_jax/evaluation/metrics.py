"""Metrics from pixel counts: class IoU, mIoU, FB-IoU, and a bootstrap over query images (NumPy, float64)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Integer

from mmnet_jax.errors import UserError

Counts = Integer[np.ndarray, " e *t"]
"""Pixel counts of E episodes, for one method or for T methods."""
ClassIds = Integer[np.ndarray, " e"]
IoUs = Float[np.ndarray, "r s c t"]
"""IoU in percent by draw, seed, class and method; draw 0 has every query image once; NaN where the union is empty."""
RESAMPLES = 1000
"""Number of bootstrap draws."""
CHUNK = 2_000_000
"""Number of drawn query images that the bootstrap holds in memory at once."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics of one method on one list of episodes, in percent; with several seeds, the mean over seeds of each."""

    miou: float
    """Mean of ``class_iou``."""
    fb_iou: float
    """Mean of the pooled foreground IoU and the pooled background IoU."""
    class_iou: dict[int, float]
    """Class -> sum of its episodes' intersections over the sum of their unions, for the classes that occur."""
    interval95: tuple[float, float]
    """Bootstrap interval of ``miou`` over query images, each with all its episodes."""
    by_seed: tuple[float, ...]
    """mIoU of each seed."""
    class_interval95: dict[int, tuple[float, float]]
    """Bootstrap interval of each class's IoU, over the same draws."""


def score(
    intersection: Integer[np.ndarray, "e 2"],
    union: Integer[np.ndarray, "e 2"],
    class_ids: ClassIds,
    queries: Sequence[str],
    *,
    seeds: int = 1,
    fold: int = 0,
) -> Scores:
    """The metrics of E episodes from the pixel counts of intersection and union of prediction and label.

    Args:
      intersection: the last axis is background, foreground; also that of ``union``.
      queries: the id of each episode's query image.
      seeds: number of episode seeds; their episodes follow one another in equal parts.
      fold: seed of the bootstrap, so that folds are drawn independently.

    Raises:
      UserError: no episode has a foreground pixel in its label or its prediction.
    """
    classes, ious = class_ious(intersection[:, 1], union[:, 1], class_ids, queries, seeds=seeds, fold=fold)
    draws = mean_iou(ious)[:, 0]
    by_class = nan_mean(ious[..., 0], axis=1)  # row 0 is over all episodes, the others are bootstrap draws
    pooled_i, pooled_u = (counts.reshape(seeds, -1, 2).sum(1, dtype=np.int64) for counts in (intersection, union))
    pooled = _ratio(pooled_i.astype(np.float64), pooled_u.astype(np.float64))
    return Scores(
        miou=float(draws[0]),
        fb_iou=float(nan_mean(pooled, axis=1).mean()),
        class_iou=dict(zip(classes.tolist(), by_class[0].tolist(), strict=True)),
        interval95=interval_of(draws[1:]),
        by_seed=tuple(nan_mean(ious[0, ..., 0], axis=1).tolist()),
        class_interval95={c: interval_of(draws) for c, draws in zip(classes.tolist(), by_class[1:].T, strict=True)},
    )


def class_ious(
    intersection: Counts,
    union: Counts,
    class_ids: ClassIds,
    queries: Sequence[str] | None = None,
    *,
    seeds: int = 1,
    fold: int = 0,
) -> tuple[Integer[np.ndarray, " c"], IoUs]:
    """The IoU of each class over all episodes, then over each bootstrap draw of query images (if ``queries`` is given).

    A draw takes as many query images as there are, with replacement, each with all its episodes of all seeds. Draws
    depend only on the ids of the query images and on ``fold``, so that results on the same images are paired.

    Returns the classes whose union is above 0 for every method, ascending, and their IoUs. Raises ``UserError`` if a
    seed has no such class.
    """
    classes, of_class = np.unique(class_ids, return_inverse=True)
    images, of_image = np.unique(["" for _ in class_ids] if queries is None else queries, return_inverse=True)
    of_seed = np.repeat(np.arange(seeds), len(class_ids) // seeds)
    counts = np.stack([intersection, union], axis=1).reshape(len(class_ids), 2, -1)
    sums = np.zeros((len(images), seeds, len(classes), 2, counts.shape[-1]), np.int64)
    np.add.at(sums, (of_image, of_seed, of_class), counts)
    occurring = sums[..., 1, :].sum(axis=0) > 0
    seen = occurring.any(axis=0).all(axis=-1)
    if not occurring[:, seen].any(axis=1).all():
        raise UserError("no episode has foreground in its label or its prediction.")
    exact = sums[:, :, seen].astype(np.float64)  # exact below 2^53
    resamples = 0 if queries is None else RESAMPLES
    drawn = [np.tensordot(times, exact, 1) for times in _draws(len(images), resamples, fold)]
    return classes[seen], np.concatenate([_ratio(sums[..., 0, :], sums[..., 1, :]) for sums in drawn])


def _draws(count: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "r u"]]:
    """Counts of each of U units: once each in the first row, then as often as each draw with replacement has it."""
    yield np.ones((1, count))
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK // count)
    for start in range(0, resamples, chunk):
        drawn = random.integers(count, size=(min(chunk, resamples - start), count))
        rows = np.arange(len(drawn))[:, None] * count
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size)
        yield times.reshape(drawn.shape).astype(np.float64)


def _ratio(intersection: Float[np.ndarray, "..."], union: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """IoU in percent, NaN where the union is empty."""
    return np.divide(100 * intersection, union, out=np.full_like(union, np.nan), where=union > 0)


def mean_iou(ious: IoUs) -> Float[np.ndarray, "r t"]:
    """mIoU in percent: the mean over seeds of the mean over the classes that a draw contains."""
    return nan_mean(nan_mean(ious, axis=2), axis=1)


def nan_mean(values: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, "..."]:
    """The mean over an axis, ignoring NaN; NaN if all values are."""
    number = (~np.isnan(values)).sum(axis=axis)
    return np.nansum(values, axis=axis) / np.where(number, number, np.nan)


def interval_of(draws: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The 95% percentile interval of the draws, ignoring NaN."""
    low, high = np.nanquantile(draws, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def best_threshold(
    above: Integer[np.ndarray, "e 2 t"], class_ids: ClassIds, *, seeds: int = 1
) -> tuple[float, Integer[np.ndarray, "e 2"], Integer[np.ndarray, "e 2"]]:
    """The confidence threshold that maximises mIoU on these episodes (an oracle); the lowest of equally good ones.

    ``above`` counts the background and foreground pixels of each label at or above each of T thresholds, evenly spaced
    from 0 to 1; ``seeds`` is as in ``score``. Returns the threshold, and each episode's intersection and union at it.
    """
    above = np.asarray(above, np.int64)
    area = above[:, :, :1]
    intersection = np.stack([area[:, 0] - above[:, 0], above[:, 1]], axis=1)
    union = np.stack([area[:, 0] + area[:, 1] - above[:, 1], area[:, 1] + above[:, 0]], axis=1)
    _, ious = class_ious(intersection[:, 1], union[:, 1], class_ids, seeds=seeds)
    best = int(np.argmax(mean_iou(ious)[0]))
    return best / (above.shape[2] - 1), intersection[..., best], union[..., best]
