"""A table filled with what has been measured, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mmnet_jax.reproduction.scores import Key, Outcome, Score, difference, miou, verdict
from mmnet_jax.reproduction.tables import Table, TableRow

Outcomes = Mapping[str, Mapping[Key, Outcome]]
"""By configuration, then by fold and seed."""


def filled(
    table: Table, rows: Sequence[TableRow], folds: Sequence[int], seeds: Sequence[int], outcomes: Outcomes
) -> Any:
    """The table as JSON.

    Args:
      table: which.
      rows: those of its rows that were asked for.
      folds: likewise.
      seeds: likewise.
      outcomes: what there is of them; a mean stands where no run of it is missing.

    Raises:
      UserError: two rows that a claim compares were not measured on the same episodes.
    """
    measured = {row.name: outcomes.get(row.config, {}) for row in rows}
    found = [outcome for by_key in measured.values() for outcome in by_key.values()]
    claims = [claim for claim in table.claims if claim.better in measured and claim.worse in measured]
    return {
        "title": table.title,
        "note": table.note,
        "folds": list(folds),
        "seeds": list(seeds),
        "protocols": _distinct(found, "protocol"),
        "episodes": _distinct(found, "episodes"),
        "datasets": _distinct(found, "dataset"),
        "hardware": _distinct(found, "hardware"),
        "commits": _distinct(found, "commit"),
        "codes": _distinct(found, "code"),
        "measured": _distinct(found, "date", 10),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [_row(row, folds, seeds, measured[row.name]) for row in rows],
        "claims": [
            {"better": claim.better, "worse": claim.worse}
            | _compared(folds, seeds, measured[claim.better], measured[claim.worse])
            for claim in claims
        ],
    }


def _row(row: TableRow, folds: Sequence[int], seeds: Sequence[int], outcomes: Mapping[Key, Outcome]) -> dict[str, Any]:
    cells = {}
    for name, keys in _columns(folds, seeds).items():
        cell: dict[str, Any] = {}
        if row.paper is not None:
            cell["paper"] = _printed(row, name, folds)
        if all(key in outcomes for key in keys):
            cell |= _number(miou({key: outcomes[key] for key in keys}), "miou")
            if cell.get("paper") is not None:
                cell["difference"] = cell["miou"] - cell["paper"]
        cells[name] = cell
    runs = [
        {
            "fold": fold,
            "seed": seed,
            "miou": outcome.summary["miou"],
            "step": outcome.summary.get("step"),
            "class_iou": outcome.summary.get("class_iou"),
            "confidence_alone": outcome.summary.get("baselines", {}).get("confidence", {}).get("miou"),
            "commit": outcome.summary.get("commit"),
            "workdir": outcome.path.parents[1].name,
        }
        for (fold, seed), outcome in sorted(outcomes.items())
    ]
    shots = sorted({outcome.summary["shots"] for outcome in outcomes.values()})
    return {"row": row.name, "label": row.label, "config": row.config, "shots": shots, "cells": cells, "runs": runs}


def _compared(
    folds: Sequence[int], seeds: Sequence[int], ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]
) -> dict[str, Any]:
    cells = {}
    for name, keys in _columns(folds, seeds).items():
        if all(key in ours and key in theirs for key in keys):
            score = difference({key: ours[key] for key in keys}, {key: theirs[key] for key in keys})
            cells[name] = _number(score, "difference") | {"verdict": verdict(score)}
        else:
            cells[name] = {}
    return {"cells": cells, "verdict": cells["mean"].get("verdict", "not run")}


def _columns(folds: Sequence[int], seeds: Sequence[int]) -> dict[str, list[Key]]:
    """The runs that a column is of."""
    own = {f"fold{fold}": [(fold, seed) for seed in seeds] for fold in folds}
    return own | {"mean": [key for keys in own.values() for key in keys]}


def _printed(row: TableRow, column: str, folds: Sequence[int]) -> float | None:
    """The paper's number; of a mean over other folds than all four, it has none."""
    assert row.paper is not None
    if column == "mean":
        return row.paper.mean if len(folds) == len(row.paper.folds) else None
    return row.paper.folds[int(column.removeprefix("fold"))]


def _number(score: Score, name: str) -> dict[str, Any]:
    return {name: score.value, "interval95": list(score.interval95)}


def _distinct(outcomes: Sequence[Outcome], field: str, length: int | None = None) -> list[Any]:
    values = [outcome.summary[field] for outcome in outcomes if outcome.summary.get(field) is not None]
    return sorted({value[:length] if length else value for value in values})


def markdown(content: Any) -> str:
    """A filled table for people; ``content`` is from ``filled``."""
    columns = list(content["rows"][0]["cells"]) if content["rows"] else ["mean"]
    of_paper = any("paper" in cell for row in content["rows"] for cell in row["cells"].values())
    words = "mIoU of the novel classes in percent, with its bootstrap 95% interval in brackets"
    if of_paper:
        words += "; below it the paper's number and the difference to it"
    lines = [f"# {content['title']}", "", f"{words}. {_circumstances(content)}", ""]
    lines += _grid(
        ["row", *columns], [[_cell_label(row), *map(_cell, row["cells"].values())] for row in content["rows"]]
    )
    if content["claims"]:
        lines += [
            "",
            "Differences in points on the same episodes, drawn together; a claim whose interval holds 0 is undecided.",
            "",
        ]
        body = [
            [
                f"{claim['better']} better than {claim['worse']}",
                *map(_points, claim["cells"].values()),
                claim["verdict"],
            ]
            for claim in content["claims"]
        ]
        lines += _grid(["claim", *columns, "verdict"], body)
    if content["note"]:
        lines += ["", content["note"]]
    return "\n".join(lines) + "\n"


def _circumstances(content: Any) -> str:
    def listed(name: str) -> str:
        return ", ".join(map(str, content[name])) or "none yet"

    seeds = "seed" if len(content["seeds"]) == 1 else "the mean of seeds"
    text = (
        f"Protocol {listed('protocols')}, {listed('episodes')} episodes a fold, {seeds} {listed('seeds')}; "
        f"measured {listed('measured')} on {listed('hardware')}, commit {listed('commits')}."
    )
    if len(content["codes"]) > 1:
        text += " The runs are of several versions of the code."
    return text


def _cell_label(row: Any) -> str:
    return f"{row['label']} (`{row['row']}`)"


def _cell(cell: Any) -> str:
    own = f"{cell['miou']:.1f} {_interval(cell)}" if "miou" in cell else "not run"
    if cell.get("paper") is None:
        return own
    behind = f" ({cell['difference']:+.1f})" if "difference" in cell else ""
    return f"{own}<br>{cell['paper']:.1f}{behind}"


def _points(cell: Any) -> str:
    return f"{cell['difference']:+.1f} {_interval(cell, '+')}" if cell else "not run"


def _interval(cell: Any, sign: str = "") -> str:
    low, high = cell["interval95"]
    return f"[{low:{sign}.1f}, {high:{sign}.1f}]"


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
