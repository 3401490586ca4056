"""A table filled with what was measured, as JSON and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mmnet_jax.config.values import dataset_choice
from mmnet_jax.reproduction.runs import Settings
from mmnet_jax.reproduction.scores import (
    Key,
    OtherEpisodes,
    Outcome,
    Score,
    difference,
    miou,
    overall_verdict,
    verdict,
)
from mmnet_jax.reproduction.tables import Table, TableRow
from mmnet_jax.workdir.provenance import CODE

Outcomes = Mapping[str, Mapping[Key, Outcome]]
"""By recipe, then by fold and seed."""

NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"

INTERVALS = (
    "95% intervals bootstrap over query images, each with all its episodes, for these trained networks; "
    "they do not include the variance between trainings."
)


def filled(
    table: Table,
    rows: Sequence[TableRow],
    folds: Sequence[int],
    seeds: Sequence[int],
    outcomes: Outcomes,
    settings: Settings,
    unfinished: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The table as JSON.

    Args:
      table: the table.
      rows: the rows that were asked for; likewise ``folds`` and ``seeds``.
      outcomes: the finished runs; a mean is given where none of its runs is missing.
      settings: settings of the runs.
      unfinished: by name of an unfinished run, the last line of its log.
    """
    measured = {row.name: outcomes.get(row.config, {}) for row in rows}
    found = [outcome for by_key in measured.values() for outcome in by_key.values()]
    claims = [claim for claim in table.claims if claim.better in measured and claim.worse in measured]
    data = [
        {
            "dataset": outcome.config.data.dataset,
            "variant": dataset_choice(outcome.config).variant,
            "sha256": outcome.summary.get("data_sha256"),
        }
        for outcome in found
    ]
    return {
        "title": table.title,
        "note": table.note,
        "changes": list(settings.changes),
        "unfinished": dict(unfinished or {}),
        "folds": list(folds),
        "seeds": list(seeds),
        "protocols": _distinct(outcome.summary.get("protocol") for outcome in found),
        "episodes": _distinct(outcome.summary.get("episodes") for outcome in found),
        "data": [one for i, one in enumerate(data) if one not in data[:i]],
        "weights_sha256": _distinct(outcome.summary.get("weights_sha256") for outcome in found),
        "hardware": _distinct(outcome.summary.get("hardware") for outcome in found),
        "numerics": _distinct(code.numerics for outcome in found for code in outcome.codes),
        "commits": _distinct(code.commit for outcome in found for code in outcome.codes),
        "written_by": {"numerics": CODE.numerics, "commit": CODE.commit},
        "measured": _distinct(outcome.summary.get("date", "")[:10] for outcome in found),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "intervals": INTERVALS,
        "rows": [_row(row, folds, seeds, measured[row.name], settings) for row in rows],
        "claims": [
            claim._asdict() | _compared(folds, seeds, measured[claim.better], measured[claim.worse]) for claim in claims
        ],
    }


def _row(
    row: TableRow, folds: Sequence[int], seeds: Sequence[int], outcomes: Mapping[Key, Outcome], settings: Settings
) -> dict[str, Any]:
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
    same = ("step", "class_iou", "commit", "numerics", "weights_sha256", "data_sha256")
    runs = [
        {"fold": fold, "seed": seed, "miou": outcome.summary["miou"]}
        | {field: outcome.summary.get(field) for field in same}
        | {
            "confidence_alone": outcome.summary.get("baselines", {}).get("confidence", {}).get("miou"),
            "workdir": outcome.path.parents[1].relative_to(settings.runs.absolute()).as_posix(),
        }
        for (fold, seed), outcome in sorted(outcomes.items())
    ]
    shots = sorted({outcome.summary["shots"] for outcome in outcomes.values()})
    return {"row": row.name, "label": row.label, "config": row.config, "shots": shots, "cells": cells, "runs": runs}


def _compared(
    folds: Sequence[int], seeds: Sequence[int], ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]
) -> dict[str, Any]:
    """Paired differences of two rows by column and by seed, with the verdict on the claim."""
    cells: dict[str, dict[str, Any]] = {}
    scores: dict[str, Score] = {}
    by_seed = {f"seed{seed}": [(fold, seed) for fold in folds] for seed in seeds}
    for name, keys in (by_seed | _columns(folds, seeds)).items():
        cells[name] = {}
        if all(key in ours and key in theirs for key in keys):
            try:
                scores[name] = difference({key: ours[key] for key in keys}, {key: theirs[key] for key in keys})
                cells[name] = _number(scores[name], "difference") | {"verdict": verdict(scores[name])}
            except OtherEpisodes as error:
                cells[name] = {"verdict": NOT_COMPARABLE, "reason": str(error)}
    overall = cells["mean"].get("verdict", NOT_RUN)
    if "mean" in scores:
        overall = overall_verdict(scores["mean"], [scores[f"fold{fold}"] for fold in folds])
    seed_cells = {name: cells.pop(name) for name in by_seed}
    return {"cells": cells, "verdict": overall, "by_seed": seed_cells}


def _columns(folds: Sequence[int], seeds: Sequence[int]) -> dict[str, list[Key]]:
    """By column, the runs behind its number."""
    own = {f"fold{fold}": [(fold, seed) for seed in seeds] for fold in folds}
    return own | {"mean": [key for keys in own.values() for key in keys]}


def _printed(row: TableRow, column: str, folds: Sequence[int]) -> float | None:
    """The paper's number; it prints no mean over fewer than all folds."""
    assert row.paper is not None
    if column == "mean":
        return row.paper.mean if len(folds) == len(row.paper.folds) else None
    return row.paper.folds[int(column.removeprefix("fold"))]


def _number(score: Score, name: str) -> dict[str, Any]:
    return {name: score.value, "interval95": list(score.interval95)}


def _distinct(values: Iterable[Any]) -> list[Any]:
    return sorted({value for value in values if value is not None})


def markdown(content: Mapping[str, Any]) -> str:
    """The Markdown of a table from ``filled``."""
    columns = list(content["rows"][0]["cells"]) if content["rows"] else ["mean"]
    head = "Novel mIoU in percent with its 95% interval"
    if any("paper" in cell for row in content["rows"] for cell in row["cells"].values()):
        head += "; below it the paper's number and the difference from it"
    lines = [f"# {content['title']}", "", f"{head}. {_circumstances(content)}", "", content["intervals"], ""]
    lines += _grid(
        ["row", *columns],
        [[f"{row['label']} (`{row['row']}`)", *map(_cell, row["cells"].values())] for row in content["rows"]],
    )
    if content["claims"]:
        lines += ["", *_claims(content, columns)]
    if content["note"]:
        lines += ["", content["note"]]
    if content["unfinished"]:
        lines += ["", "Not finished:", "", *(f"- {run}: {line}" for run, line in content["unfinished"].items())]
    return "\n".join(lines) + "\n"


def _claims(content: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    several = len(content["seeds"]) > 1
    text = (
        "Paired differences in points, on the same episodes and bootstrap draws. A claim is undecided if the interval "
        "of the mean contains 0; it differs by fold if the interval of one fold is above 0 and that of another below."
    )
    if several:
        text += " Seeds: the smallest and the largest mean of one seed."
    body = [
        [
            f"{claim['better']} better than {claim['worse']}",
            *map(_points, claim["cells"].values()),
            *([_seed_range(claim)] if several else []),
            claim["verdict"],
        ]
        for claim in content["claims"]
    ]
    return [text, "", *_grid(["claim", *columns, *(["seeds"] if several else []), "verdict"], body)]


def _circumstances(content: Mapping[str, Any]) -> str:
    def listed(name: str) -> str:
        return ", ".join(map(str, content[name])) or "unknown"

    seeds = "seed" if len(content["seeds"]) == 1 else "the mean of seeds"
    text = (
        f"Protocol {listed('protocols')}, {listed('episodes')} episodes a fold, {seeds} {listed('seeds')}; "
        f"measured {listed('measured')} on {listed('hardware')}, NUMERICS {listed('numerics')}, "
        f"commit {_short(listed('commits'))}."
    )
    if content["changes"]:
        text += f" Changed in all runs: {', '.join(content['changes'])}."
    if content["weights_sha256"]:
        text += f" Backbone weights: SHA-256 {_short(listed('weights_sha256'))}."
    data = [
        f"{one['dataset']} ({one['variant']}"
        + (f"; SHA-256 {_short(' and '.join(one['sha256'].values()))}" if one["sha256"] else "")
        + ")"
        for one in content["data"]
    ]
    return text + (f" Data: {', '.join(data)}." if data else "")


def _short(text: str) -> str:
    """The text with hashes cut to 12 digits."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]+", r"\1", text)


def _cell(cell: Mapping[str, Any]) -> str:
    own = f"{cell['miou']:.1f} {_interval(cell)}" if "miou" in cell else NOT_RUN
    if cell.get("paper") is None:
        return own
    behind = f" ({cell['difference']:+.1f})" if "difference" in cell else ""
    return f"{own}<br>{cell['paper']:.1f}{behind}"


def _points(cell: Mapping[str, Any]) -> str:
    if "difference" not in cell:
        return cell.get("verdict", NOT_RUN)
    return f"{cell['difference']:+.1f} {_interval(cell, '+')}"


def _seed_range(claim: Mapping[str, Any]) -> str:
    means = [cell["difference"] for cell in claim["by_seed"].values() if "difference" in cell]
    return f"{min(means):+.1f} to {max(means):+.1f}" if len(means) > 1 else NOT_RUN


def _interval(cell: Mapping[str, Any], sign: str = "") -> str:
    low, high = cell["interval95"]
    return f"[{low:{sign}.1f}, {high:{sign}.1f}]"


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
