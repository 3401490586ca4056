"""A comparison of rows of results with the first row: as JSON, as Markdown tables and as a figure."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmnet_jax.drawing.intervals import Bar, Panel, draw_intervals
from mmnet_jax.errors import UserError, listed
from mmnet_jax.evaluation.comparison import (
    RULES,
    Estimate,
    Key,
    NotComparable,
    Parts,
    Resampled,
    difference,
    miou,
    resample,
)
from mmnet_jax.evaluation.markdown import markdown_table, with_intervals
from mmnet_jax.evaluation.stored import OWN, StoredEpisode, read_result

INTERVALS = (
    "95% intervals bootstrap over query images, each with all its episodes; they do not include the variance between "
    "trainings."
)
SEEDS = "Intervals after the word seeds do: a hierarchical bootstrap over training seeds, then query images."
OPPOSITE = (
    "Differences are in points, on the same episodes and bootstrap draws; in parentheses is the fraction of draws in "
    "which the difference has the opposite sign or is 0, which says how much of it may be chance."
)
MIN_QUERY_IMAGES = 30
"""Least number of query images for which the coverage of the intervals was measured (results/coverage.md)."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The results of one method."""

    name: str
    parts: Parts
    files: tuple[str, ...]
    """Paths as they were given."""

    def of_fold(self, fold: int) -> Parts:
        return {key: part for key, part in self.parts.items() if key[0] == fold}

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted({fold for fold, _ in self.parts}))


def read_row(text: str) -> Row:
    """Reads the row ``[NAME=]RESULT.json[,RESULT.json...]``; ``RESULT.json:BASELINE`` is a result's baseline.

    Without ``NAME``, its name is the field ``name`` or the file name of the first result. Several results of one fold,
    such as those of several training seeds, are runs to average over; rows are paired in the order of training seeds.
    Raises a ``UserError`` that names the file at fault.
    """
    name, equals, files = text.partition("=")
    if not equals or "/" in name:
        name, files = "", text
    runs: list[Resampled] = []
    methods: list[str] = []
    for file in files.split(","):
        path, colon, method = file.rpartition(":")
        if not colon or Path(file).exists():
            path, method = file, OWN
        result = read_result(Path(path).expanduser())
        try:
            runs.append(resample(result, method))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        methods.append(method)
        stem = result.summary.get("name") or Path(path).stem
        name = name or (stem if method == OWN else f"{stem}:{method}")
    if len(set(methods)) > 1:
        raise UserError(f"row {name} mixes {listed(methods, 'and')}; give all its results the same :BASELINE, or none.")
    runs.sort(key=lambda run: run.result.summary.get("trained_seed") or 0)
    parts: dict[Key, Resampled] = {}
    for run in runs:
        fold = run.result.fold
        parts[fold, sum(other == fold for other, _ in parts)] = run
    return Row(name, parts, tuple(files.split(",")))


def comparison_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The comparison as JSON: the mIoU of each row by fold and class, and its difference from the first row.

    Raises a ``UserError`` if two rows have the same name, or a row is not comparable with the first one.
    """
    first, *others = rows
    names = [row.name for row in rows]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two rows are called {repeated[0]}; name them: NAME=RESULT.json.")
    for row in others:
        if row.parts.keys() != first.parts.keys():
            ours, theirs = (listed([str(fold) for fold, _ in sorted(one.parts)], "and") for one in (row, first))
            folds = f"its results are of fold {ours}, but those of {first.name} of fold {theirs}"
            raise UserError(f"{row.name} cannot be compared with {first.name}: {folds}.")
        try:
            difference(row.parts, first.parts)
        except NotComparable as error:
            raise UserError(f"{row.name} cannot be compared with {first.name}: {error}") from error
    summaries = [part.result.summary for row in rows for part in row.parts.values()]
    shared = ("split", *(name for name in RULES if name not in ("fold", "seeds")))
    episodes = {
        fold: [e for part in first.of_fold(fold).values() for e in part.result.episodes] for fold in first.folds
    }
    content = {
        **{name: values[0] for name in shared if len(set(values := [s[name] for s in summaries if name in s])) == 1},
        "episodes": [len(part.result.episodes) for part in first.parts.values()],
        "query_images": {f"fold{fold}": _query_images(of_fold) for fold, of_fold in episodes.items()},
        "rows": [_row(row, first) for row in rows],
    }
    return content | {"intervals": intervals_of(cell for row in content["rows"] for cell in row["cells"].values())}


def intervals_of(cells: Iterable[Mapping[str, Any]]) -> str:
    """The sentences that explain the intervals in these cells."""
    return f"{INTERVALS} {SEEDS}" if any("seeds95" in cell for cell in cells) else INTERVALS


def _query_images(episodes: Sequence[StoredEpisode]) -> dict[str, Any]:
    """Number of query images, in total and of each class."""
    classes: dict[str, set[str]] = {}
    for episode in episodes:
        classes.setdefault(episode.class_name, set()).add(episode.query)
    counts = {name: len(queries) for name, queries in classes.items()}
    return {"all": len(set().union(*classes.values())), "classes": counts}


def _row(row: Row, first: Row) -> dict[str, Any]:
    """The numbers of a row and, unless it is the first, its differences from the first."""

    def cell(fold: int | None = None, class_name: str | None = None) -> dict[str, Any]:
        ours, theirs = (one.parts if fold is None else one.of_fold(fold) for one in (row, first))
        found = numbers("miou" if class_name is None else "iou", miou(ours, class_name))
        if row is not first:
            found["difference"] = numbers("difference", difference(ours, theirs, class_name))
        return found

    classes: dict[str, Any] = {}
    for fold in first.folds:
        both = [part.classes for one in (row, first) for part in one.of_fold(fold).values()]
        common = sorted(set(both[0]).intersection(*both))
        classes |= {f"fold{fold}": {name: cell(fold, name) for name in common}}
    cells = {f"fold{fold}": cell(fold) for fold in first.folds}
    return {"name": row.name, "files": list(row.files), "cells": cells | {"mean": cell()}, "classes": classes}


def numbers(name: str, estimate: Estimate) -> dict[str, Any]:
    """An estimate as JSON, with the fraction of opposite draws if it is a ``difference``."""
    found: dict[str, Any] = {name: estimate.value, "interval95": list(estimate.interval95)}
    if estimate.seeds95:
        found["seeds95"] = list(estimate.seeds95)
    fractions = {"opposite": estimate.opposite, "seeds_opposite": estimate.seeds_opposite}
    return found | {
        key: fraction for key, fraction in fractions.items() if name == "difference" and fraction is not None
    }


def comparison_markdown(content: Mapping[str, Any]) -> str:
    """The comparison of ``comparison_json`` as Markdown tables."""
    rows, folds = content["rows"], list(content["query_images"])
    columns = [*folds, "mean"] if len(folds) > 1 else folds
    first = rows[0]["name"]
    lines = ["# Comparison", "", _circumstances(content), "", content["intervals"], ""]
    body = [[row["name"], *(with_intervals(row["cells"][c], "miou", "z.1f") for c in columns)] for row in rows]
    lines += markdown_table(["mIoU, percent", *columns], body)
    lines += ["", OPPOSITE, ""]
    body = [[row["name"], *(_difference(row["cells"][c]) for c in columns)] for row in rows[1:]]
    lines += markdown_table([f"minus {first}", *columns], body)
    lines += ["", *_class_table(content)]
    counts = {fold: images["all"] for fold, images in content["query_images"].items()}
    counts |= {name: count for images in content["query_images"].values() for name, count in images["classes"].items()}
    few = [f"{name} ({count})" for name, count in counts.items() if count < MIN_QUERY_IMAGES]
    if few:
        lines += [
            "",
            f"Warning: with fewer than {MIN_QUERY_IMAGES} query images the intervals are too narrow: {', '.join(few)}.",
        ]
    return "\n".join(lines) + "\n"


def _class_table(content: Mapping[str, Any]) -> list[str]:
    """The lines of the table of classes."""
    rows, folds = content["rows"], content["query_images"]
    names, body = [row["name"] for row in rows], []
    for fold, images in folds.items():
        for name in rows[0]["classes"][fold]:
            cells = [row["classes"][fold].get(name) for row in rows]
            ious = [f"{cell['iou']:.1f}" if cell else "" for cell in cells]
            differences = [_difference(cell) if cell else "" for cell in cells[1:]]
            label = f"{name} ({fold})" if len(folds) > 1 else name
            body.append([label, str(images["classes"][name]), *ious, *differences])
    return markdown_table(
        ["IoU, percent", "query images", *names, *(f"{name} minus {names[0]}" for name in names[1:])], body
    )


def _circumstances(content: Mapping[str, Any]) -> str:
    """A sentence about the data, protocol and episodes that all rows share."""
    names = [name for name in ("split", "coco_masks", "folds") if name in content]
    variant = f" ({', '.join(f'{name}={content[name]}' for name in names)})" if names else ""
    scored = f", scored at {content['scoring']}" if content.get("scoring") else ""
    images = ", ".join(f"{counts['all']:,} of {fold}" for fold, counts in content["query_images"].items())
    return (
        f"{content['dataset']}{variant}, {content['shots']}-shot, protocol {content['protocol']}{scored}; "
        f"{', '.join(f'{count:,}' for count in dict.fromkeys(content['episodes']))} episodes a result; query images: "
        f"{images}."
    )


def comparison_figure(content: Mapping[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    """The mIoU of every row beside its difference from the first row, for each fold and their mean.

    Intervals are over training seeds too, if there are several.
    """
    rows, folds = content["rows"], list(content["query_images"])
    panels: list[tuple[Panel, Panel]] = []
    for column in ["mean", *folds] if len(folds) > 1 else folds:
        cells = {row["name"]: row["cells"][column] for row in rows}
        scores = [Bar(name, cell["miou"], *cell.get("seeds95", cell["interval95"])) for name, cell in cells.items()]
        differences = [Bar(rows[0]["name"], 0.0, 0.0, 0.0)]
        for row in rows[1:]:
            cell = cells[row["name"]]["difference"]
            differences.append(Bar(row["name"], cell["difference"], *cell.get("seeds95", cell["interval95"])))
        right = Panel(f"minus {rows[0]['name']}, points", differences, mark=0.0)
        panels.append((Panel(f"{column}: mIoU, percent", scores), right))
    return draw_intervals(panels)


def _difference(cell: Mapping[str, Any]) -> str:
    return with_intervals(cell["difference"], "difference", "+z.1f")
