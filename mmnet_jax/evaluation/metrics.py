"""Metrics of counted pixels: class IoU, mIoU, FB-IoU, and a bootstrap interval of the mIoU (NumPy, float64)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer

from mmnet_jax.errors import UserError

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


def score(
    intersection: Integer[np.ndarray, "e 2"],
    union: Integer[np.ndarray, "e 2"],
    class_ids: Integer[np.ndarray, " e"],
    seed: int = 0,
) -> Scores:
    """The metrics of E episodes from their pixel counts (last axis: background, foreground).

    Args:
      intersection: pixels on which prediction and label agree.
      union: pixels that are the class in the prediction or in the label.
      class_ids: the class of each episode.
      seed: of the bootstrap.

    Raises:
      UserError: no episode has a foreground pixel in its label or its prediction.
    """
    classes, sums_i, sums_u = class_sums(intersection[:, 1], union[:, 1], class_ids)
    ious = 100 * sums_i[:, 0] / sums_u[:, 0]
    pooled_i, pooled_u = intersection.sum(0, dtype=np.int64), union.sum(0, dtype=np.int64)
    seen = pooled_u > 0
    return Scores(
        miou=float(ious.mean()),
        fb_iou=float((100 * pooled_i[seen] / pooled_u[seen]).mean()),
        class_iou={int(c): float(iou) for c, iou in zip(classes, ious, strict=True)},
        interval95=interval_of(bootstrap_draws(intersection[:, 1], union[:, 1], class_ids, seed=seed)[:, 0]),
    )


def class_sums(
    intersection: Integer[np.ndarray, " e *t"],
    union: Integer[np.ndarray, " e *t"],
    class_ids: Integer[np.ndarray, " e"],
) -> tuple[Integer[np.ndarray, " c"], Integer[np.ndarray, "c t"], Integer[np.ndarray, "c t"]]:
    """Intersections and unions summed over each class's episodes, for one method or for T of them at once.

    Returns:
      The classes whose union is above 0 for every method, ascending, and their sums as int64.

    Raises:
      UserError: there is no such class.
    """
    classes, position = np.unique(class_ids, return_inverse=True)
    intersection, union = intersection.reshape(len(class_ids), -1), union.reshape(len(class_ids), -1)
    sums = np.zeros((2, len(classes), union.shape[1]), np.int64)
    np.add.at(sums[0], position, intersection)
    np.add.at(sums[1], position, union)
    seen = (sums[1] > 0).all(axis=1)
    if not seen.any():
        raise UserError("no episode has foreground in its label or its prediction.")
    return classes[seen], sums[0][seen], sums[1][seen]


def bootstrap_draws(
    intersection: Integer[np.ndarray, " e *t"],
    union: Integer[np.ndarray, " e *t"],
    class_ids: Integer[np.ndarray, " e"],
    *,
    units: Integer[np.ndarray, " e"] | None = None,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Float[np.ndarray, "r t"]:
    """The mIoU (percent) of each of R draws with replacement, for one method or for T of them at once.

    All methods are scored on the same draws, so that the difference of two columns is that of paired episodes. A class
    that a draw misses is left out of that draw's mean.

    Args:
      intersection: of the foreground, for each episode.
      union: of the foreground, for each episode.
      class_ids: the class of each episode.
      units: the unit of each episode, such as its query image; as many units are drawn as there are, each with all of
        its episodes. Episodes are drawn by themselves if None.
      resamples: R.
      seed: of the draws, one number or several.
    """
    episodes = len(class_ids)
    intersection, union = intersection.reshape(episodes, -1), union.reshape(episodes, -1)
    methods = union.shape[1]
    classes, position = np.unique(class_ids, return_inverse=True)
    own = np.zeros((episodes, len(classes), 1))
    own[np.arange(episodes), position] = 1
    # Float64 holds these sums exactly; one product gives all draws' sums of all classes.
    parts = np.concatenate([own * intersection[:, None], own * union[:, None]], axis=1).reshape(episodes, -1)
    if units is not None:
        names, unit = np.unique(units, return_inverse=True)
        together = np.zeros((len(names), parts.shape[1]))
        np.add.at(together, unit, parts)
        parts = together
    count = len(parts)
    random = np.random.default_rng(seed)
    chunk = max(1, CHUNK // count)
    means: list[Float[np.ndarray, "r t"]] = []
    for start in range(0, resamples, chunk):
        drawn = random.integers(count, size=(min(chunk, resamples - start), count))
        rows = np.arange(len(drawn))[:, None] * count
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums = (times.astype(np.float64) @ parts).reshape(len(drawn), 2, len(classes), methods)
        sums_i, sums_u = sums[:, 0], sums[:, 1]
        seen = sums_u > 0
        ious = np.divide(sums_i, sums_u, out=np.zeros_like(sums_i), where=seen)
        means.append(100 * ious.sum(1) / np.maximum(seen.sum(1), 1))
    return np.concatenate(means)


def interval_of(draws: Float[np.ndarray, " r"]) -> tuple[float, float]:
    """The percentile interval that holds 95% of the draws."""
    low, high = np.quantile(draws, [(1 - 0.95) / 2, (1 + 0.95) / 2])
    return float(low), float(high)


def best_threshold(
    above: Integer[np.ndarray, "e 2 t"], class_ids: Integer[np.ndarray, " e"], seed: int = 0
) -> tuple[float, Scores]:
    """The threshold of the confidence map that maximises mIoU on these episodes (an oracle), and its scores.

    Args:
      above: background and foreground pixels of each label at or above each of T thresholds, evenly spaced from 0
        (where every pixel is) to 1.
      class_ids: the class of each episode.
      seed: of the bootstrap.

    Returns:
      The threshold (the lowest, among equals) and the scores at it.
    """
    above = np.asarray(above, np.int64)
    area = above[:, :, :1]
    intersection = np.stack([area[:, 0] - above[:, 0], above[:, 1]], axis=1)
    union = np.stack([area[:, 0] + area[:, 1] - above[:, 1], area[:, 1] + above[:, 0]], axis=1)
    _, sums_i, sums_u = class_sums(intersection[:, 1], union[:, 1], class_ids)
    best = int(np.argmax((sums_i / sums_u).mean(0)))
    return best / (above.shape[2] - 1), score(intersection[..., best], union[..., best], class_ids, seed)
