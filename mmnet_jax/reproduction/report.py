"""A table filled with what was measured, as JSON and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mmnet_jax.config.values import dataset_choice
from mmnet_jax.reproduction.runs import Selection, Settings
from mmnet_jax.reproduction.scores import Key, OtherEpisodes, Outcome, difference, miou, overall_verdict, verdict
from mmnet_jax.reproduction.tables import TableRow
from mmnet_jax.workdir.provenance import CODE

NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"

INTERVALS = (
    "95% intervals bootstrap over query images, each with all its episodes, for these trained networks; "
    "they do not include the variance between trainings."
)
CLAIMS = (
    "Paired differences in points, on the same episodes and bootstrap draws. A claim is undecided if the interval of "
    "the mean contains 0; it differs by fold if the interval of one fold is above 0 and that of another below."
)
SEEDS = " Seeds: the smallest and the largest mean of one seed."


def filled(
    selection: Selection,
    settings: Settings,
    outcomes: Mapping[tuple[str, int, int], Outcome],
    unfinished: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The table as JSON.

    Args:
      selection: what was asked for.
      settings: settings of the runs.
      outcomes: finished runs by recipe, fold and seed; a mean is given where none of its runs is missing.
      unfinished: by name of an unfinished run, the last line of its log.
    """
    table, rows, folds, seeds = selection
    measured = {row.name: {key[1:]: outcomes[key] for key in outcomes if key[0] == row.config} for row in rows}
    found = [outcome for by_key in measured.values() for outcome in by_key.values()]
    data = []
    for outcome in found:
        name, _, variant = dataset_choice(outcome.config)
        one = {"dataset": name, "variant": variant, "sha256": outcome.summary.get("data_sha256")}
        data += [one] if one not in data else []

    def distinct(values: Sequence[Any]) -> list[Any]:
        return sorted({value for value in values if value is not None})

    def summaries(field: str) -> list[Any]:
        return distinct([outcome.summary.get(field) for outcome in found])

    return {
        "title": table.title,
        "note": table.note,
        "changes": list(settings.changes),
        "unfinished": dict(unfinished or {}),
        "folds": list(folds),
        "seeds": list(seeds),
        "protocols": summaries("protocol"),
        "episodes": summaries("episodes"),
        "data": data,
        "weights_sha256": summaries("weights_sha256"),
        "hardware": summaries("hardware"),
        "numerics": distinct([code.numerics for outcome in found for code in outcome.codes]),
        "commits": distinct([code.commit for outcome in found for code in outcome.codes]),
        "measured": distinct([date[:10] for date in summaries("date")]),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "written_by": CODE._asdict(),
        "intervals": INTERVALS,
        "rows": [_row(row, selection, measured[row.name], settings) for row in rows],
        "claims": [
            {"better": better, "worse": worse} | _compared(selection, measured[better], measured[worse])
            for better, worse in table.claims
            if better in measured and worse in measured
        ],
    }


def _row(row: TableRow, selection: Selection, outcomes: Mapping[Key, Outcome], settings: Settings) -> dict[str, Any]:
    """Our number and the paper's by column, and the runs behind them."""
    cells = {}
    for name, keys in _columns(selection).items():
        cell: dict[str, Any] = {} if row.paper is None else {"paper": row.paper.get(name)}
        if name == "mean" and row.paper and len(selection.folds) < len(row.paper) - 1:
            cell["paper"] = None  # the paper prints means over all folds only
        if all(key in outcomes for key in keys):
            score = miou({key: outcomes[key] for key in keys})
            cell |= {"miou": score.value, "interval95": list(score.interval95)}
            if cell.get("paper") is not None:
                cell["difference"] = score.value - cell["paper"]
        cells[name] = cell
    same = ("miou", "step", "class_iou", "commit", "numerics", "weights_sha256", "data_sha256")
    runs = [
        {
            "fold": fold,
            "seed": seed,
            **{field: outcome.summary.get(field) for field in same},
            "confidence_alone": outcome.summary.get("baselines", {}).get("confidence", {}).get("miou"),
            "workdir": outcome.path.parents[1].relative_to(settings.runs.absolute()).as_posix(),
        }
        for (fold, seed), outcome in sorted(outcomes.items())
    ]
    shots = sorted({outcome.summary["shots"] for outcome in outcomes.values()})
    return {"row": row.name, "label": row.label, "config": row.config, "shots": shots, "cells": cells, "runs": runs}


def _compared(selection: Selection, ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]) -> dict[str, Any]:
    """Paired differences of two rows by column and by seed, with the verdict on the claim."""

    def compared(columns: Mapping[str, Sequence[Key]]) -> dict[str, dict[str, Any]]:
        cells: dict[str, dict[str, Any]] = {}
        for name, keys in columns.items():
            cells[name] = {}
            if all(key in ours and key in theirs for key in keys):
                try:
                    score = difference({key: ours[key] for key in keys}, {key: theirs[key] for key in keys})
                except OtherEpisodes as error:
                    cells[name] = {"verdict": NOT_COMPARABLE, "reason": str(error)}
                    continue
                number = {"difference": score.value, "interval95": list(score.interval95)}
                cells[name] = number | {"verdict": verdict(score)}
        return cells

    cells = compared(_columns(selection))
    overall = cells["mean"].get("verdict", NOT_RUN)
    if "difference" in cells["mean"]:
        overall = overall_verdict(overall, [cell["verdict"] for name, cell in cells.items() if name != "mean"])
    by_seed = {f"seed{seed}": [(fold, seed) for fold in selection.folds] for seed in selection.seeds}
    return {"cells": cells, "verdict": overall, "by_seed": compared(by_seed)}


def _columns(selection: Selection) -> dict[str, list[Key]]:
    """By column, the fold and seed of each run behind its number."""
    own = {f"fold{fold}": [(fold, seed) for seed in selection.seeds] for fold in selection.folds}
    return own | {"mean": [key for keys in own.values() for key in keys]}


def markdown(content: Mapping[str, Any]) -> str:
    """The Markdown of a table from ``filled``."""
    rows, claims, several = content["rows"], content["claims"], len(content["seeds"]) > 1
    columns = list(rows[0]["cells"])
    head = "Novel mIoU in percent with its 95% interval"
    if any("paper" in row["cells"]["mean"] for row in rows):
        head += "; below it the paper's number and the difference from it"
    lines = [f"# {content['title']}", "", f"{head}. {_circumstances(content)}", "", content["intervals"], ""]
    body = [[f"{row['label']} (`{row['row']}`)", *map(_cell, row["cells"].values())] for row in rows]
    lines += _grid(["row", *columns], body)
    if claims:
        lines += ["", CLAIMS + SEEDS * several, ""]
        body = [[f"{c['better']} better than {c['worse']}", *map(_points, c["cells"].values())] for c in claims]
        body = [[*own, *([_seed_range(c)] * several), c["verdict"]] for own, c in zip(body, claims, strict=True)]
        lines += _grid(["claim", *columns, *["seeds"] * several, "verdict"], body)
    if content["note"]:
        lines += ["", content["note"]]
    if content["unfinished"]:
        lines += ["", "Not finished:", "", *(f"- {run}: {line}" for run, line in content["unfinished"].items())]
    return "\n".join(lines) + "\n"


def _circumstances(content: Mapping[str, Any]) -> str:
    """Protocol, data, weights, code and machine, with hashes cut to 12 digits."""

    def listed(name: str) -> str:
        return ", ".join(map(str, content[name])) or "unknown"

    seeds = "seed" if len(content["seeds"]) == 1 else "the mean of seeds"
    text = (
        f"Protocol {listed('protocols')}, {listed('episodes')} episodes a fold, {seeds} {listed('seeds')}; measured "
        f"{listed('measured')} on {listed('hardware')}, NUMERICS {listed('numerics')}, commit {listed('commits')}."
    )
    if content["changes"]:
        text += f" Changed in all runs: {listed('changes')}."
    if content["weights_sha256"]:
        text += f" Backbone weights: SHA-256 {listed('weights_sha256')}."
    for number, one in enumerate(content["data"]):
        sha256 = f"; SHA-256 {' and '.join(one['sha256'].values())}" if one["sha256"] else ""
        text += f"{',' if number else ' Data:'} {one['dataset']} ({one['variant']}{sha256})"
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
