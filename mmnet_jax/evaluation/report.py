"""The files of an evaluation: the result as JSON and as text, its manifest, a table of episodes, and images."""

import csv
import datetime
import io
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import mmnet_jax
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import first_of, listed
from mmnet_jax.evaluation.manifest import Manifest, manifest_files, write_manifest
from mmnet_jax.evaluation.markdown import with_interval
from mmnet_jax.evaluation.metrics import Scores
from mmnet_jax.evaluation.result import Result
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.storage.files import write_atomically, write_json
from mmnet_jax.workdir.provenance import CODE

COLUMNS = ("query", "class", "supports", "area", "intersection", "union", "iou", "seed")
MAX_CLASSES, EXTREMES = 20, 5
"""Largest number of classes that the text lists; of more classes, it lists this many lowest and highest IoUs."""
NETWORK: tuple[str, ...] = ("checkpoint", "step", "weights_sha256", "parameters_sha256", "network", "backbone")
NETWORK += ("reading", "image_size", "dtype", "trained_dataset", "trained_fold", "trained_shots", "trained_seed")
NETWORK += ("hardware",)
"""Fields of a result about the network and its hardware, null for masks from files."""
SUPPORT, MASK, QUERY = "support.png", "mask.png", "query.png"


def about_code(*libraries: str) -> dict[str, Any]:
    """The part of ``result.json`` about the code, with the versions of NumPy and of these packages."""
    versions = {"mmnet_jax": mmnet_jax.__version__, "python": platform.python_version()}
    return {**CODE._asdict(), "versions": versions | {name: version(name) for name in (*libraries, "numpy")}}


def result_json(result: Result, dataset: Dataset, run: dict[str, Any]) -> dict[str, Any]:
    """The content of ``result.json``, with the fields of ``run``; scores are in percent."""
    names, manifest = dataset.class_names, result.manifest

    def numbers(scores: Scores) -> dict[str, Any]:
        found = vars(scores) | {"interval95": list(scores.interval95)}
        found["class_iou"] = {names[c]: iou for c, iou in scores.class_iou.items()}
        found["class_interval95"] = {names[c]: list(interval) for c, interval in scores.class_interval95.items()}
        by_seed = found.pop("by_seed")
        return found | ({"by_seed": list(by_seed)} if len(by_seed) > 1 else {})

    scores = numbers(result.scores)
    interval = scores.pop("interval95")
    return {
        "dataset": manifest.dataset,
        **manifest.choices,
        **{name: getattr(manifest, name) for name in ("fold", "classes", "shots")},
        "protocol": manifest.label,
        "scoring": manifest.rules.scoring,
        "episodes": manifest.per_seed,
        "seeds": list(manifest.seeds),
        "episodes_sha256": manifest.sha256(),
        **scores,
        "left_out": [name for name in manifest.class_ids if name not in scores["class_iou"]],
        "interval95": interval,
        "baselines": {
            name: ({} if baseline.threshold is None else {"threshold": baseline.threshold}) | numbers(baseline.scores)
            for name, baseline in result.baselines.items()
        },
        **run,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def episode_table(result: Result) -> str:
    """CSV with one row for each episode: ids, class, foreground counts in pixels, IoU in percent, and episode seed.

    The columns ``NAME_intersection`` and ``NAME_union`` hold the foreground counts of each baseline.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, *(f"{name}_{count}" for name in result.baselines for count in ("intersection", "union"))])
    counts = [result.area, result.intersection, result.union]
    counts += [pixels for baseline in result.baselines.values() for pixels in (baseline.intersection, baseline.union)]
    foreground = np.stack(counts, axis=1)[..., 1]
    seeds = np.repeat(result.manifest.seeds, result.manifest.per_seed)
    for episode, seed, (area, *pixels) in zip(result.manifest.episodes, seeds, foreground, strict=True):
        intersection, union, *others = pixels
        iou = 100 * intersection / union if union else ""
        supports = " ".join(episode.supports)
        rows.writerow((episode.query, episode.class_name, supports, area, intersection, union, iou, seed, *others))
    return text.getvalue()


def result_files(path: Path, seeds: Sequence[int] = (0,)) -> list[Path]:
    """``path``, which is ``NAME.json``, then ``NAME.manifest.json``, ``NAME.episodes.csv`` and ``NAME.sheet.png``.

    Each of several seeds has a manifest, see ``manifest_files``.
    """
    name = path.name.removesuffix(".json")
    manifest, *others = (path.with_name(name + end) for end in (".manifest.json", ".episodes.csv", ".sheet.png"))
    return [path, *manifest_files(manifest, seeds), *others]


def report_file(path: Path) -> Path:
    """The HTML report of the result in ``path``: ``NAME.report.html``, or ``report.html`` for ``result.json``."""
    name = path.name.removesuffix(".json")
    return path.with_name("report.html" if name == "result" else f"{name}.report.html")


def write_result(path: Path, summary: dict[str, Any], result: Result, dataset: Dataset, page: str = "") -> None:
    """Writes ``result_files`` of ``path``, the summary last; the sheet only if there are samples.

    ``page`` is the content of ``report_file``, from ``html_report``; an empty one is not written.
    """
    path, manifest, table, sheet = result_files(path)  # the manifest's name without a seed
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, result.manifest)
    write_atomically(table, episode_table(result).encode())
    if result.samples:
        write_atomically(sheet, png_bytes(episode_sheet(result, dataset)))
    if page:
        write_atomically(report_file(path), page.encode(errors="replace"))  # paths may not be Unicode
    write_json(path, summary)


def write_example(folder: Path, manifest: Manifest, dataset: Dataset, summary: dict[str, Any]) -> None:
    """Writes the first episode of the class with the highest IoU, to try ``predict`` on: support, mask and query."""
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    spec = next(spec for spec in manifest.specs(dataset) if dataset.class_names[spec.class_id] == best)
    image, label = dataset.test.read(spec.supports[0], spec.class_id)
    query = dataset.test.read_image(spec.query)
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.where(label == 1, 255, 0).astype(np.uint8)
    for name, content in {SUPPORT: image, MASK: mask, QUERY: query}.items():
        write_atomically(folder / name, png_bytes(content))


def report(summary: dict[str, Any]) -> str:
    """A summary of ``result_json`` as text: mIoU with its 95% interval, classes, remarks and baselines."""

    def miou(scores: dict[str, Any]) -> str:
        return f"mIoU {with_interval(scores['miou'], scores['interval95'], '.2f')}"

    seeds = summary["seeds"]
    fields = DATASETS[summary["dataset"]].variant_flag, "folds"
    chosen = ", ".join(f"{name}={summary[name]}" for name in fields if name in summary)
    lines = [
        f"{summary['dataset']}{f' ({chosen})' if chosen else ''} fold {summary['fold']}, {summary['shots']}-shot, "
        f"protocol {summary['protocol']}, {summary['episodes']:,} episodes, "
        + (f"seed {seeds[0]}" if len(seeds) == 1 else f"for each of the seeds {listed(map(str, seeds), 'and')}"),
        f"{miou(summary)}   FB-IoU {summary['fb_iou']:.2f}",
        *_class_lines(summary["class_iou"]),
        *remarks(summary),
    ]
    for name, baseline in summary["baselines"].items():
        threshold = f" at threshold {baseline['threshold']:.2f}" if "threshold" in baseline else ""
        lines.append(f"baseline {name}{threshold}: {miou(baseline)}")
    return "\n".join(lines)


def remarks(summary: dict[str, Any]) -> list[str]:
    """Lines with the mIoU of each of several seeds, the classes without episodes, and the notes."""
    lines = []
    if by_seed := summary.get("by_seed"):
        means = [f"{seed} {value:.2f}" for seed, value in zip(summary["seeds"], by_seed, strict=True)]
        lines.append(f"mIoU of each seed: {'  '.join(means)}")
    if left_out := summary["left_out"]:
        lines.append(f"without episodes, so not in the mean: {first_of(left_out, MAX_CLASSES)}")
    return lines + [f"note: {note}." for note in summary.get("notes", ())]


def _class_lines(class_iou: Mapping[str, float]) -> list[str]:
    """The IoU of each class; of many classes, the lowest and the highest."""
    if len(class_iou) <= MAX_CLASSES:
        parts = {"": list(class_iou)}
    else:
        ascending = sorted(class_iou, key=class_iou.__getitem__)
        parts = {"lowest: ": ascending[:EXTREMES], "highest: ": ascending[-EXTREMES:]}
    return [what + "  ".join(f"{name} {class_iou[name]:.1f}" for name in names) for what, names in parts.items()]
