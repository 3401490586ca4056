"""A result read from its files: the summary, and the pixel counts of every episode."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.report import result_files

REQUIRED = ("dataset", "fold", "shots", "protocol", "episodes")
"""Required fields of a result."""
OWN = "own"
"""Key of the evaluated network or masks among the methods of a result; the other keys are baselines."""


class StoredEpisode(NamedTuple):
    """One row of the table of episodes."""

    query: str
    class_name: str
    supports: str
    """Image ids separated by spaces."""
    area: int
    """Foreground pixels of the label."""


@dataclasses.dataclass(frozen=True)
class StoredResult:
    """A result and its table of episodes."""

    summary: dict[str, Any]
    """The content of ``result.json``."""
    episodes: tuple[StoredEpisode, ...]
    counts: dict[str, Integer[np.ndarray, "e 2"]]
    """Method -> foreground intersection and union of every episode, in pixels."""

    @property
    def fold(self) -> int:
        return self.summary["fold"]

    @property
    def seeds(self) -> int:
        """Number of episode seeds; their episodes follow one another in equal parts."""
        return len(self.summary.get("seeds", [0]))


def read_result(path: Path) -> StoredResult:
    """Reads ``NAME.json`` and ``NAME.episodes.csv``; raises a ``UserError`` if one is missing or damaged."""
    path, _, table, _ = result_files(path)
    try:
        summary = json.loads(path.read_text())
        rows = list(csv.DictReader(table.read_text().splitlines()))
        episodes = tuple(StoredEpisode(r["query"], r["class"], r["supports"], int(r["area"])) for r in rows)
        names = [name for name in summary.get("baselines", {}) if rows and f"{name}_union" in rows[0]]
        columns = {OWN: "", **{name: f"{name}_" for name in names}}  # older tables have none of baselines
        counts = {
            name: np.array([(int(row[f"{prefix}intersection"]), int(row[f"{prefix}union"])) for row in rows], np.int64)
            for name, prefix in columns.items()
        }
        needed = {name: summary[name] for name in REQUIRED}
        result = StoredResult(needed | summary | {"fold": int(summary["fold"])}, episodes, counts)
        number = int(summary["episodes"]) * result.seeds
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} does not exist; a result is NAME.json with NAME.episodes.csv.") from None
    except (OSError, AttributeError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else f"{type(error).__name__} {error}"
        raise UserError(f"the result {path} or its {table.name} cannot be read: {what}.") from error
    if len(episodes) != number or not episodes:
        raise UserError(f"{table} has {len(episodes)} episodes, but {path} says {number}; evaluate again.")
    return result
