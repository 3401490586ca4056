"""An evaluation's files: the result, the manifest that repeats it, a row for each episode and a sheet of pictures."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import mmnet_jax
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.evaluation.protocols import manifest_text
from mmnet_jax.evaluation.runner import Baseline, Result
from mmnet_jax.evaluation.sheet import episode_sheet
from mmnet_jax.storage.files import write_whole
from mmnet_jax.workdir.provenance import CODE

COLUMNS = ("query", "class", "supports", "area", "intersection", "union", "iou")


def about_run(
    config: ConfigDict,
    *,
    checkpoint: str,
    step: int,
    parameters: Any,
    weights_sha256: str,
    data_sha256: Mapping[str, str],
) -> dict[str, Any]:
    """What ``result.json`` holds of the network and of where it ran.

    Args:
      config: of the network, resolved.
      checkpoint: how the checkpoint was asked for: best, latest or a step.
      step: the training step that this was.
      parameters: of the head, a tree.
      weights_sha256: of the backbone's file.
      data_sha256: of the dataset's splits, by their names.
    """
    return {
        "checkpoint": checkpoint,
        "step": step,
        "trained_fold": config.fold,
        "trained_shots": config.shots,
        "network": config.model.network,
        "reading": config.reading if config.model.network == "mmnet" else None,
        "backbone": config.model.backbone,
        "weights_sha256": weights_sha256,
        "parameters_sha256": parameters_sha256(parameters),
        "data_sha256": dict(data_sha256),
        "image_size": config.data.image_size,
        **CODE._asdict(),
        "versions": versions(),
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def parameters_sha256(tree: Any) -> str:
    """SHA-256, in hexadecimal, over the names, types, shapes and bytes of a tree's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def result_json(result: Result, dataset: Dataset, run: dict[str, Any]) -> dict[str, Any]:
    """What ``result.json`` holds. Scores are in percent.

    Args:
      result: what ``evaluate`` returned.
      dataset: that it was evaluated on.
      run: from ``about_run``.
    """

    def baseline(of: Baseline) -> dict[str, Any]:
        numbers: dict[str, Any] = {} if of.threshold is None else {"threshold": of.threshold}
        return numbers | {
            "miou": of.scores.miou,
            "fb_iou": of.scores.fb_iou,
            "class_iou": {dataset.class_names[c]: iou for c, iou in of.scores.class_iou.items()},
            "interval95": list(of.scores.interval95),
        }

    manifest = result.manifest
    return {
        "dataset": manifest.dataset,
        "fold": manifest.fold,
        "classes": manifest.classes,
        "shots": manifest.shots,
        "protocol": manifest.protocol,
        "episodes": result.episodes,
        "seeds": [manifest.seed],
        "miou": result.miou,
        "fb_iou": result.fb_iou,
        "class_iou": result.class_iou,
        "left_out": list(result.left_out),
        "interval95": list(result.interval95),
        "baselines": {name: baseline(of) for name, of in result.baselines.items()},
        **run,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def episode_table(result: Result, dataset: Dataset) -> str:
    """CSV with one row an episode: ids, class, the label's area in pixels, its counts and its IoU in percent."""
    ids = dataset.test.ids
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for spec, area, intersection, union in zip(
        result.manifest.episodes, result.area, result.intersection, result.union, strict=True
    ):
        iou = 100 * intersection[1] / union[1] if union[1] else ""
        name, supports = dataset.class_names[spec.class_id], " ".join(ids[s] for s in spec.supports)
        rows.writerow((ids[spec.query], name, supports, area[1], intersection[1], union[1], iou))
    return text.getvalue()


def result_files(path: Path) -> list[Path]:
    """``NAME.json``, which is ``path``, ``NAME.manifest.json``, ``NAME.episodes.csv`` and ``NAME.sheet.png``."""
    name = path.name.removesuffix(".json")
    return [path, *(path.with_name(name + end) for end in (".manifest.json", ".episodes.csv", ".sheet.png"))]


def write_result(path: str | Path, summary: dict[str, Any], result: Result, dataset: Dataset) -> list[Path]:
    """Writes ``result_files``, without a sheet where there are no samples.

    Args:
      path: of the result, ``NAME.json``.
      summary: from ``result_json``.
      result: that it is of.
      dataset: that it was evaluated on.

    Returns:
      The files, the result first. Each appears whole or not at all, the result last.

    Raises:
      OSError: naming the file that cannot be written.
    """
    path, manifest, table, sheet = result_files(Path(path))
    files = {
        manifest: manifest_text(result.manifest, dataset).encode(),
        table: episode_table(result, dataset).encode(),
    }
    if result.samples:
        files[sheet] = png_bytes(episode_sheet(result, dataset))
    files[path] = (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        write_whole(file, content)
    return [path, *(file for file in files if file != path)]


def versions() -> dict[str, str]:
    """Of this package, Python, and the libraries that compute."""
    found = {"mmnet_jax": mmnet_jax.__version__, "python": platform.python_version()}
    return found | {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
