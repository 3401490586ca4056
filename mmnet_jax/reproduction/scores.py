"""Results of finished runs, and verdicts on claims that one row of a table is better than another."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.evaluation.comparison import Estimate, Resampled, resample
from mmnet_jax.evaluation.stored import read_result
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import Code, read_code

HOLDS, FAILS, UNDECIDED, DIFFERS = "holds", "does not hold", "undecided", "differs by fold"
"""Verdicts on a claim."""


class Outcome(NamedTuple):
    """The result of a finished run."""

    workdir: Path
    numbers: Resampled
    config: ConfigDict
    """The training's, resolved."""
    codes: tuple[Code, ...]
    """The code that trained and the code that evaluated, if known."""

    @property
    def summary(self) -> dict[str, Any]:
        """The content of ``result.json``."""
        return self.numbers.result.summary


def read_outcome(workdir: Workdir) -> Outcome:
    """Reads the result of a finished run; raises a ``UserError`` if a file is missing or damaged."""
    result = read_result(workdir.results / RESULT)
    codes = tuple(code for code in (workdir.code(), read_code(result.summary)) if code)
    return Outcome(workdir.path, resample(result), workdir.load_config(), codes)


def verdict(difference: Estimate) -> str:
    """The verdict on the claim that a difference is positive, by the interval over training seeds if there is one."""
    low, high = difference.seeds95 or difference.interval95
    return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def overall_verdict(mean: str, folds: Collection[str]) -> str:
    """The verdict on the mean, or ``DIFFERS`` if the claim holds in one fold and fails in another."""
    return DIFFERS if HOLDS in folds and FAILS in folds else mean
