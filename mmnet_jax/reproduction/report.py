"""A table with the measured numbers, as JSON and as Markdown."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.evaluation.comparison import Estimate, Key, NotComparable, Parts, Resampled, difference, miou, resample
from mmnet_jax.evaluation.comparison_table import OPPOSITE, intervals_of, numbers
from mmnet_jax.evaluation.markdown import markdown_table, with_intervals
from mmnet_jax.evaluation.stored import read_result
from mmnet_jax.reproduction.runs import Run, Settings
from mmnet_jax.reproduction.tables import Table, TableRow
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import Code, read_code

HOLDS, FAILS, UNDECIDED, DIFFERS = "holds", "does not hold", "undecided", "differs by fold"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"
"""Verdicts on a claim that one row is better than another."""

CLAIMS = (
    f"{OPPOSITE} A claim is undecided if the interval of the mean contains 0; it differs by fold if the interval of "
    "one fold is above 0 and that of another below."
)
SEEDS = " Verdicts use the intervals over seeds. Column one seed: the smallest and the largest mean of a single seed."

Columns = Mapping[str, Sequence[Key]]
"""Name of a column -> fold and seed of each run in it."""


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


def table_json(
    table: Table, settings: Settings, finished: Sequence[tuple[Run, Outcome]], unfinished: Mapping[str, str]
) -> dict[str, Any]:
    """The table as JSON. A cell has a number if all its runs are finished.

    ``unfinished`` maps the name of a run to the last line of its log.
    """
    folds, seeds = table.folds, settings.seeds
    columns: Columns = {f"fold{fold}": [(fold, seed) for seed in seeds] for fold in folds}
    columns = {**columns, "mean": list(itertools.product(folds, seeds))}
    by_seed = {f"seed{seed}": [(fold, seed) for fold in folds] for seed in seeds}
    measured = {
        row.name: {(run.fold, run.seed): outcome for run, outcome in finished if run.recipe == row.config}
        for row in table.rows
    }
    parts = {row: {key: outcome.numbers for key, outcome in outcomes.items()} for row, outcomes in measured.items()}
    outcomes = [outcome for _, outcome in finished]
    data = []
    for outcome in outcomes:
        name, _, variant, rule = dataset_choice(outcome.config)
        folds_rule = {"folds": rule} if len(DATASETS[name].novel) > 1 else {}
        source = {"dataset": name, "variant": variant, **folds_rule, "sha256": outcome.summary.get("data_sha256")}
        data += [source] if source not in data else []

    def distinct(field: str) -> list[Any]:
        return sorted({outcome.summary.get(field) for outcome in outcomes} - {None})

    rows = [_row(row, columns, measured[row.name], settings.runs) for row in table.rows]
    codes = {code for outcome in outcomes for code in outcome.codes}
    return {
        "title": table.title,
        "note": table.note,
        "changes": list(settings.changes),
        "unfinished": dict(unfinished),
        "folds": list(folds),
        "seeds": list(seeds),
        "protocols": distinct("protocol"),
        "episodes": distinct("episodes"),
        "data": data,
        "weights_sha256": distinct("weights_sha256"),
        "hardware": distinct("hardware"),
        "numerics": sorted({code.numerics for code in codes}),
        "commits": sorted({code.commit for code in codes if code.commit}),
        "measured": sorted({date[:10] for date in distinct("date")}),
        "intervals": intervals_of(cell for row in rows for cell in row["cells"].values()),
        "rows": rows,
        "claims": [
            {"better": better, "worse": worse, **_compared(parts[better], parts[worse], columns, by_seed)}
            for better, worse in table.claims
        ],
    }


def _row(row: TableRow, columns: Columns, outcomes: Mapping[Key, Outcome], folder: Path) -> dict[str, Any]:
    """Measured and printed number of each column, and the runs in ``folder`` behind them."""
    cells: dict[str, dict[str, Any]] = {}
    for name, keys in columns.items():
        cell = cells[name] = {}
        if row.paper:  # its means are over all folds
            cell["paper"] = row.paper[name] if name != "mean" or len(columns) == len(row.paper) else None
        if outcomes.keys() >= set(keys):
            score = miou({key: outcomes[key].numbers for key in keys})
            cell |= numbers("miou", score)
            if cell.get("paper") is not None:
                cell["difference"] = score.value - cell["paper"]
    runs = []
    for (fold, seed), outcome in sorted(outcomes.items()):
        fields = ("miou", "step", "class_iou", "commit", "numerics", "weights_sha256", "data_sha256")
        run = {"fold": fold, "seed": seed} | {field: outcome.summary.get(field) for field in fields}
        run["confidence_alone"] = outcome.summary.get("baselines", {}).get("confidence", {}).get("miou")
        run["workdir"] = outcome.workdir.relative_to(folder.absolute()).as_posix()
        runs.append(run)
    shots = sorted({outcome.summary["shots"] for outcome in outcomes.values()})
    return {"row": row.name, "label": row.label, "config": row.config, "shots": shots, "cells": cells, "runs": runs}


def _compared(ours: Parts, theirs: Parts, columns: Columns, by_seed: Columns) -> dict[str, Any]:
    """Paired differences of two rows by column and by seed, and the verdict on the claim."""

    def cell(keys: Sequence[Key]) -> dict[str, Any]:
        if not ours.keys() & theirs.keys() >= set(keys):
            return {}
        try:
            score = difference({key: ours[key] for key in keys}, theirs)
        except NotComparable as error:
            return {"verdict": NOT_COMPARABLE, "reason": str(error)}
        return numbers("difference", score) | {"verdict": verdict(score)}

    cells = {name: cell(keys) for name, keys in columns.items()}
    overall = cells["mean"].get("verdict", NOT_RUN)
    if "difference" in cells["mean"]:
        overall = overall_verdict(overall, [cells[name]["verdict"] for name in cells if name != "mean"])
    return {"cells": cells, "verdict": overall, "by_seed": {name: cell(keys) for name, keys in by_seed.items()}}


def verdict(difference: Estimate) -> str:
    """The verdict on the claim that a difference is positive, by the interval over training seeds if there is one."""
    low, high = difference.seeds95 or difference.interval95
    return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED


def overall_verdict(mean: str, folds: Collection[str]) -> str:
    """The verdict on the mean, or ``DIFFERS`` if the claim holds in one fold and fails in another."""
    return DIFFERS if HOLDS in folds and FAILS in folds else mean


def table_markdown(content: Mapping[str, Any]) -> str:
    """``table_json`` as Markdown."""
    rows, claims, several = content["rows"], content["claims"], len(content["seeds"]) > 1
    columns = list(rows[0]["cells"])
    head = "Novel mIoU in percent with its 95% interval"
    if any("paper" in row["cells"]["mean"] for row in rows):
        head += "; below it, the paper's number and the difference from it"
    lines = [f"# {content['title']}", "", f"{head}. {_circumstances(content)}", "", content["intervals"], ""]
    body = [[f"{row['label']} (`{row['row']}`)", *map(_with_paper, row["cells"].values())] for row in rows]
    lines += markdown_table(["row", *columns], body)
    if claims:
        lines += ["", CLAIMS + SEEDS * several, ""]
        body = []
        for claim in claims:
            cells = [_number(cell, "difference", "+") for cell in claim["cells"].values()]
            seeds = [_seed_range(claim)] * several
            body.append([f"{claim['better']} better than {claim['worse']}", *cells, *seeds, claim["verdict"]])
        lines += markdown_table(["claim", *columns, *["one seed"] * several, "verdict"], body)
    if content["note"]:
        lines += ["", content["note"]]
    if content["unfinished"]:
        lines += ["", "Not finished:", "", *(f"- {run}: {line}" for run, line in content["unfinished"].items())]
    return "\n".join(lines) + "\n"


def _circumstances(content: Mapping[str, Any]) -> str:
    """Sentences about protocol, data, weights, code and hardware, with hashes cut to 12 digits."""

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
    for number, data in enumerate(content["data"]):
        sha256 = f"; SHA-256 {' and '.join(data['sha256'].values())}" if data["sha256"] else ""
        folds = f", {data['folds']} folds" if "folds" in data else ""
        text += f"{',' if number else ' Data:'} {data['dataset']} ({data['variant']}{folds}{sha256})"
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]+", r"\1", text)


def _number(cell: Mapping[str, Any], name: str, sign: str = "") -> str:
    """A number with its interval, or the reason why there is none."""
    if name not in cell:
        return cell.get("verdict", NOT_RUN)
    return with_intervals(cell, name, f"{sign}z.1f")


def _with_paper(cell: Mapping[str, Any]) -> str:
    paper = "" if cell.get("paper") is None else f"<br>{cell['paper']:.1f}"
    difference = f" ({cell['difference']:+.1f})" if "difference" in cell else ""
    return _number(cell, "miou") + paper + difference


def _seed_range(claim: Mapping[str, Any]) -> str:
    means = [cell["difference"] for cell in claim["by_seed"].values() if "difference" in cell]
    return f"{min(means):+.1f} to {max(means):+.1f}" if len(means) > 1 else NOT_RUN
