"""mIoU of finished runs and paired differences between rows, over folds and seeds, with 95% intervals.

A number over several folds or seeds is their mean. Intervals bootstrap over query images, separately for each fold and
seed; all episodes of a drawn image come with it, because a protocol uses each test image several times and its episodes
are not independent. A difference uses the same draws for both rows. The trained networks are fixed: no interval
includes the variance between trainings.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from ml_collections import ConfigDict

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import bootstrap_draws, class_sums, interval_of
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import Code, read_code

Key = tuple[int, int]
"""Fold and seed."""

HOLDS, FAILS, UNDECIDED, DIFFERS = "holds", "does not hold", "undecided", "differs by fold"
"""Verdicts on a claim."""


class OtherEpisodes(Exception):
    """Two results are of different episodes."""


class Outcome(NamedTuple):
    """The numbers of a finished run."""

    summary: dict[str, Any]
    """The content of ``result.json``."""
    asked: tuple[tuple[str, str, str], ...]
    """Query, class and supports of each episode."""
    intersection: Integer[np.ndarray, " e"]
    """Foreground pixels, as in ``union``."""
    union: Integer[np.ndarray, " e"]
    path: Path
    """The file ``result.json``."""
    config: ConfigDict
    """The training's, resolved."""
    codes: tuple[Code, ...]
    """The code that trained and the code that evaluated, where they are known."""


class Score(NamedTuple):
    """A number with its 95% interval, in percent or points."""

    value: float
    interval95: tuple[float, float]


def read_outcome(workdir: Workdir) -> Outcome:
    """The numbers of a finished run.

    Raises:
      UserError: a file is missing or damaged.
    """
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
    codes = tuple(code for code in (workdir.code(), read_code(summary)) if code)
    return Outcome(summary, asked, counts[:, 0], counts[:, 1], path, workdir.load_config(), codes)


def miou(outcomes: Mapping[Key, Outcome]) -> Score:
    """The mean over folds of the mean over seeds."""
    return _pooled({key: _score_and_draws(key, [outcome]) for key, outcome in outcomes.items()})


def difference(ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]) -> Score:
    """mIoU of one row minus that of another in points, paired by fold, seed and episode.

    Args:
      ours: outcomes of one row.
      theirs: outcomes of the other row, for the same folds and seeds.

    Raises:
      OtherEpisodes: two results are of different episodes.
    """
    pairs: dict[Key, tuple[np.ndarray, np.ndarray]] = {}
    for key in ours:
        one, other = ours[key], theirs[key]
        if one.asked != other.asked:
            raise OtherEpisodes(f"the two results of fold {key[0]}, seed {key[1]} are not of the same episodes")
        value, draws = _score_and_draws(key, [one, other])
        pairs[key] = value[:1] - value[1:], draws[:, :1] - draws[:, 1:]
    return _pooled(pairs)


def verdict(score: Score) -> str:
    """The verdict on the claim that a difference is above 0."""
    low, high = score.interval95
    return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def overall_verdict(mean: str, folds: Sequence[str]) -> str:
    """The verdict on the mean, unless the claim holds in one fold and fails in another."""
    return DIFFERS if {HOLDS, FAILS} <= set(folds) else mean


def _score_and_draws(key: Key, outcomes: Sequence[Outcome]) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "r t"]]:
    """mIoU of results of the same episodes in percent, and of their bootstrap draws."""
    intersection = np.stack([outcome.intersection for outcome in outcomes], axis=1)
    union = np.stack([outcome.union for outcome in outcomes], axis=1)
    _, class_ids = np.unique([name for _, name, _ in outcomes[0].asked], return_inverse=True)
    _, sums_i, sums_u = class_sums(intersection, union, class_ids)
    _, queries = np.unique([query for query, _, _ in outcomes[0].asked], return_inverse=True)
    return 100 * (sums_i / sums_u).mean(0), bootstrap_draws(intersection, union, class_ids, units=queries, seed=key)


def _pooled(parts: Mapping[Key, tuple[Float[np.ndarray, " 1"], Float[np.ndarray, "r 1"]]]) -> Score:
    """The mean over folds of the means over seeds."""
    values, draws = [], []
    for fold in sorted({fold for fold, _ in parts}):
        own = [part for key, part in parts.items() if key[0] == fold]
        values.append(np.mean([value[0] for value, _ in own]))
        draws.append(np.mean([drawn[:, 0] for _, drawn in own], axis=0))
    return Score(float(np.mean(values)), interval_of(np.mean(draws, axis=0)))
