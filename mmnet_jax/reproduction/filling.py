"""A table filled with what has been measured, as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mmnet_jax.data.dataset import configured_variant
from mmnet_jax.evaluation.report import commit
from mmnet_jax.reproduction.recipes import in_words, recipe
from mmnet_jax.reproduction.runs import Settings, planned
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
from mmnet_jax.workdir.provenance import code_fingerprint

Outcomes = Mapping[str, Mapping[Key, Outcome]]
"""By configuration, then by fold and seed."""

NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"

DIGITS = 12
"""Of a hash, in what people read."""

INTERVALS = (
    "95% intervals: query images drawn again with replacement, each with all its episodes, for these trained networks; "
    "the variance of training itself is not in them."
)


def filled(
    table: Table,
    rows: Sequence[TableRow],
    folds: Sequence[int],
    seeds: Sequence[int],
    outcomes: Outcomes,
    settings: Settings,
    unfinished: Mapping[str, str] | None = None,
) -> Any:
    """The table as JSON.

    Args:
      table: which.
      rows: those of its rows that were asked for.
      folds: likewise.
      seeds: likewise.
      outcomes: what there is of them; a mean stands where no run of it is missing.
      settings: of the runs.
      unfinished: the last words of runs that were begun and are not done, by their names.
    """
    measured = {row.name: outcomes.get(row.config, {}) for row in rows}
    found = [outcome for by_key in measured.values() for outcome in by_key.values()]
    claims = [claim for claim in table.claims if claim.better in measured and claim.worse in measured]
    configs = {row.name: planned(row.config, folds[0], seeds[0], settings).config for row in rows}
    recipes = {name: recipe(config) for name, config in configs.items()}
    data = [
        {
            "dataset": outcome.config.data.dataset,
            "variant": configured_variant(outcome.config),
            "sha256": outcome.summary.get("data_sha256"),
        }
        for outcome in found
    ]
    return {
        "title": table.title,
        "note": table.note.replace("{recipe}", in_words(recipes)),
        "recipe": in_words(recipes),
        "changes": list(settings.changes),
        "unfinished": dict(unfinished or {}),
        "folds": list(folds),
        "seeds": list(seeds),
        "protocols": _distinct(found, "protocol"),
        "episodes": _distinct(found, "episodes"),
        "data": [one for i, one in enumerate(data) if one not in data[:i]],
        "weights_sha256": _distinct(found, "weights_sha256"),
        "hardware": _distinct(found, "hardware"),
        "commits": _distinct(found, "commit"),
        "runs": len(found),
        "runs_of_other_code": sum(outcome.codes != (code_fingerprint(outcome.config),) for outcome in found),
        "codes": sorted({code for outcome in found for code in outcome.codes}),
        "codes_here": sorted({code_fingerprint(outcome.config) for outcome in found}),
        "written_by": commit(),
        "measured": _distinct(found, "date", 10),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "intervals": INTERVALS,
        "rows": [_row(row, folds, seeds, measured[row.name], settings) | {"recipe": recipes[row.name]} for row in rows],
        "claims": [
            {"better": claim.better, "worse": claim.worse}
            | _compared(folds, seeds, measured[claim.better], measured[claim.worse])
            for claim in claims
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
    runs = [
        {
            "fold": fold,
            "seed": seed,
            "miou": outcome.summary["miou"],
            "step": outcome.summary.get("step"),
            "class_iou": outcome.summary.get("class_iou"),
            "confidence_alone": outcome.summary.get("baselines", {}).get("confidence", {}).get("miou"),
            "commit": outcome.summary.get("commit"),
            "codes": list(outcome.codes),
            "weights_sha256": outcome.summary.get("weights_sha256"),
            "data_sha256": outcome.summary.get("data_sha256"),
            "workdir": outcome.path.parents[1].relative_to(settings.runs.absolute()).as_posix(),
        }
        for (fold, seed), outcome in sorted(outcomes.items())
    ]
    shots = sorted({outcome.summary["shots"] for outcome in outcomes.values()})
    return {"row": row.name, "label": row.label, "config": row.config, "shots": shots, "cells": cells, "runs": runs}


def _compared(
    folds: Sequence[int], seeds: Sequence[int], ours: Mapping[Key, Outcome], theirs: Mapping[Key, Outcome]
) -> dict[str, Any]:
    cells: dict[str, dict[str, Any]] = {}
    scores: dict[str, Score] = {}
    by_seed = {f"seed{seed}": [(fold, seed) for fold in folds] for seed in seeds}
    for name, keys in (by_seed | _columns(folds, seeds)).items():
        if not all(key in ours and key in theirs for key in keys):
            cells[name] = {}
            continue
        try:
            scores[name] = difference({key: ours[key] for key in keys}, {key: theirs[key] for key in keys})
            cells[name] = _number(scores[name], "difference") | {"verdict": verdict(scores[name])}
        except OtherEpisodes as error:
            cells[name] = {"verdict": NOT_COMPARABLE, "reason": str(error)}
    overall = cells["mean"].get("verdict", NOT_RUN)
    if "mean" in scores:
        overall = overall_verdict(scores["mean"], [scores[f"fold{fold}"] for fold in folds])
    return {"cells": {n: cells[n] for n in cells if n not in by_seed}, "verdict": overall} | {
        "by_seed": {name: cells[name] for name in by_seed}
    }


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
    words = "mIoU of the novel classes in percent, its 95% interval in brackets"
    if of_paper:
        words += "; below it the paper's number and the difference to it"
    lines = [f"# {content['title']}", "", f"{words}. {_circumstances(content)}", "", content["intervals"], ""]
    lines += _grid(
        ["row", *columns], [[_cell_label(row), *map(_cell, row["cells"].values())] for row in content["rows"]]
    )
    several = len(content["seeds"]) > 1
    if content["claims"]:
        lines += [
            "",
            "Differences in points on the same episodes, drawn together. A claim is undecided where the mean's "
            "interval holds 0; it differs by fold where one fold's interval is above 0 and another's below."
            + (" Seeds: the smallest and the largest mean of one seed." if several else ""),
            "",
        ]
        body = [
            [
                f"{claim['better']} better than {claim['worse']}",
                *map(_points, claim["cells"].values()),
                *([_seed_range(claim)] if several else []),
                claim["verdict"],
            ]
            for claim in content["claims"]
        ]
        lines += _grid(["claim", *columns, *(["seeds"] if several else []), "verdict"], body)
    if content["note"]:
        lines += ["", content["note"]]
    if content["unfinished"]:
        lines += ["", "Not finished:", ""]
        lines += [f"- {run}: {words}" for run, words in content["unfinished"].items()]
    return "\n".join(lines) + "\n"


def _circumstances(content: Any) -> str:
    def listed(name: str) -> str:
        return ", ".join(map(str, content[name])) or "none yet"

    seeds = "seed" if len(content["seeds"]) == 1 else "the mean of seeds"
    text = (
        f"Protocol {listed('protocols')}, {listed('episodes')} episodes a fold, {seeds} {listed('seeds')}; "
        f"measured {listed('measured')} on {listed('hardware')}, commit {_hashes(content['commits']) or 'none yet'}."
    )
    text += _of_code(content) + f" Runs: {content['recipe']}"
    if content["changes"]:
        text += f"; changed in all of them: {', '.join(content['changes'])}"
    text += f". Backbone's weights: SHA-256 {_hashes(content['weights_sha256'])}." if content["weights_sha256"] else "."
    data = [
        f"{one['dataset']} ({one['variant']}"
        + (f"; SHA-256 {' and '.join(_hashes([sha]) for sha in one['sha256'].values())}" if one["sha256"] else "")
        + ")"
        for one in content["data"]
    ]
    return text + (f" Data: {', '.join(data)}." if data else "")


def _of_code(content: Any) -> str:
    """Which code made the runs, where it is not the one that writes the table."""
    here = _hashes([content["written_by"]]) if content["written_by"] else "unknown"
    if content["runs_of_other_code"]:
        return (
            f" {content['runs_of_other_code']} of {content['runs']} runs are of other code than the one that writes "
            f"this table, which is commit {here}: fingerprints {', '.join(content['codes'])} there, "
            f"{', '.join(content['codes_here'])} here."
        )
    if content["runs"] and content["commits"] != [content["written_by"]]:
        return f" The table is written by commit {here}, whose code computes the same."
    return ""


def _hashes(values: Sequence[str]) -> str:
    """Shortened; ``-dirty`` stays behind a commit."""
    return ", ".join(value[:DIGITS] + "-dirty" * value.endswith("-dirty") for value in values)


def _cell_label(row: Any) -> str:
    return f"{row['label']} (`{row['row']}`)"


def _cell(cell: Any) -> str:
    own = f"{cell['miou']:.1f} {_interval(cell)}" if "miou" in cell else NOT_RUN
    if cell.get("paper") is None:
        return own
    behind = f" ({cell['difference']:+.1f})" if "difference" in cell else ""
    return f"{own}<br>{cell['paper']:.1f}{behind}"


def _points(cell: Any) -> str:
    if "difference" not in cell:
        return cell.get("verdict", NOT_RUN)
    return f"{cell['difference']:+.1f} {_interval(cell, '+')}"


def _seed_range(claim: Any) -> str:
    """Of the means of single seeds; told once there are two."""
    means = [cell["difference"] for cell in claim["by_seed"].values() if "difference" in cell]
    return f"{min(means):+.1f} to {max(means):+.1f}" if len(means) > 1 else NOT_RUN


def _interval(cell: Any, sign: str = "") -> str:
    low, high = cell["interval95"]
    return f"[{low:{sign}.1f}, {high:{sign}.1f}]"


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
