"""mIoU of finished runs and paired differences between rows, over folds and seeds, with 95% intervals.

A number over several folds or seeds is their mean. Intervals bootstrap over query images, separately for each fold;
all episodes of a drawn image come with it, because a protocol uses each test image several times and its episodes are
not independent. Both rows of a difference, and all seeds of a fold, use the same draws. The trained networks are fixed:
no interval includes the variance between trainings.
"""

import csv
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from ml_collections import ConfigDict

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import class_ious, interval_of, mean_iou
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import Code, read_code

Key = tuple[int, int]
"""Fold and seed."""

Asked = tuple[tuple[str, str, str], ...]
"""Query, class and supports of each episode."""

HOLDS, FAILS, UNDECIDED, DIFFERS = "holds", "does not hold", "undecided", "differs by fold"
"""Verdicts on a claim."""


class OtherEpisodes(Exception):
    """Two results are of different episodes."""


class Outcome(NamedTuple):
    """The numbers of a finished run."""

    workdir: Path
    summary: dict[str, Any]
    """The content of ``result.json``."""
    asked: Asked
    draws: Float[np.ndarray, " r"]
    """mIoU in percent: of all episodes, then of each bootstrap draw, from ``miou_of_draws``."""
    config: ConfigDict
    """The training's, resolved."""
    codes: tuple[Code, ...]
    """The code that trained and the code that evaluated, where they are known."""


class Score(NamedTuple):
    """A number with its 95% interval, in percent or points."""

    value: float
    interval95: tuple[float, float]

    @property
    def verdict(self) -> str:
        """On the claim that a difference is above 0."""
        low, high = self.interval95
        return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def overall_verdict(mean: str, folds: Collection[str]) -> str:
    """The verdict on the mean, unless the claim holds in one fold and fails in another."""
    return DIFFERS if HOLDS in folds and FAILS in folds else mean


def read_outcome(workdir: Workdir) -> Outcome:
    """The numbers of a finished run; raises a ``UserError`` if a file is missing or damaged."""
    path, _, episodes, _ = result_files(workdir.results / RESULT)
    try:
        summary = json.loads(path.read_text())
        rows = list(csv.DictReader(episodes.read_text().splitlines()))
        asked = tuple((row["query"], row["class"], row["supports"]) for row in rows)
        counts = np.array([(int(row["intersection"]), int(row["union"])) for row in rows], np.int64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the result {path} or its {episodes.name} cannot be read: {error}.") from error
    if not len(counts) == summary.get("episodes"):
        raise UserError(f"{episodes} has {len(counts)} episodes, but {path} names {summary.get('episodes')}.")
    config = workdir.load_config()
    draws = miou_of_draws(asked, counts, config.fold)
    codes = tuple(code for code in (workdir.code(), read_code(summary)) if code)
    return Outcome(workdir.path, summary, asked, draws, config, codes)


def miou_of_draws(asked: Asked, counts: Integer[np.ndarray, "e 2"], fold: int) -> Float[np.ndarray, " r"]:
    """mIoU of all episodes and of each bootstrap draw, from intersections and unions; ``fold`` seeds the draws."""
    queries, names, _ = zip(*asked, strict=True)
    class_ids = np.unique(names, return_inverse=True)[1]
    return mean_iou(class_ious(counts[:, 0], counts[:, 1], class_ids, queries, fold=fold)[1])[:, 0]


def miou(outcomes: Mapping[Key, Outcome]) -> Score:
    """The mean over folds of the means over seeds, in percent."""
    return _pooled({key: outcome.draws for key, outcome in outcomes.items()})


def difference(ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]) -> Score:
    """mIoU of one row minus that of another in points, paired by fold, seed and episode."""
    for (fold, seed), own in ours.items():
        if own.asked != theirs[fold, seed].asked:
            raise OtherEpisodes(f"the two results of fold {fold}, seed {seed} are not of the same episodes")
    return _pooled({key: own.draws - theirs[key].draws for key, own in ours.items()})


def _pooled(parts: Mapping[Key, Float[np.ndarray, " r"]]) -> Score:
    """The mean over folds of the means over seeds."""
    folds = sorted({fold for fold, _ in parts})
    by_fold = [np.mean([part for key, part in parts.items() if key[0] == fold], axis=0) for fold in folds]
    value, *draws = np.mean(by_fold, axis=0)
    return Score(float(value), interval_of(np.array(draws)))
