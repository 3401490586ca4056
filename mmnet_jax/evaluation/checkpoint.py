"""A workdir's checkpoint scored, and the files of its result."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.curve import read_curves
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.html_report import html_report
from mmnet_jax.evaluation.manifest import Manifest, manifest_text
from mmnet_jax.evaluation.report import about_code, report_file, result_files, result_json, write_result
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.evaluation.saved_masks import PackedMasks, saved_masks
from mmnet_jax.evaluation.sheet import SAMPLES
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.storage.files import REFUSED
from mmnet_jax.workdir.folder import Workdir, load_step


class Scored(NamedTuple):
    """The summary and the files of an evaluation."""

    summary: dict[str, Any]
    """The content of its ``result.json``."""
    files: list[Path]
    """``result.json`` first."""
    fresh: bool
    """False where the result was there already."""


def score_workdir(
    workdir: Workdir,
    config: ConfigDict,
    dataset: Dataset,
    manifest: Manifest,
    *,
    checkpoint: str = "best",
    output: Path | None = None,
    keep: bool = False,
    masks: Path | None = None,
    notes: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Scored:
    """Scores a checkpoint with both baselines and writes ``result_files`` and ``report_file``.

    Args:
      config: the workdir's; free fields and those of ``dataset`` may differ.
      checkpoint: ``"best"``, ``"latest"`` or a step.
      output: the result's file; in ``results/`` of the workdir, named by the episodes, if None.
      keep: where ``output`` is the result of the same parameters on the same episodes, leave it.
      masks: an absent or empty folder for the predicted masks, see ``saved_masks``; they are not kept if None.
      notes: sentences that the result carries.

    Raises:
      UserError: the workdir or the checkpoint is missing or damaged.
      OSError: naming a file that cannot be written.
    """
    model, variables, trained, step = load_step(workdir.path, checkpoint)
    variables = jax.device_get(variables)  # from one device of each process, to be laid on those of all
    output = output or workdir.results / f"{manifest.name}_step{step}.json"
    weights_sha256 = weights.sha256(workdir.backbone_file)
    found = {"weights_sha256": weights_sha256, "data_sha256": dataset.fingerprints()}
    run = about_run(model, trained, variables["params"], checkpoint=checkpoint, step=step, **found)
    run |= {"notes": list(notes)} if notes else {}
    if keep and (standing := _standing(output, run, manifest)):
        there = [file for file in [report_file(output)] if file.is_file()]  # earlier results have none
        return Scored(standing, result_files(output, manifest.seeds) + there, fresh=False)
    source = None
    if config.training.cache_features and manifest.rules.fit == "pad":
        try:
            (source,) = stored_sources(config, model, variables, weights_sha256, [dataset.test], say)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            say(f"{error.filename} cannot be written ({error.strerror}): features are computed from the images")
        except UserError as error:
            say(f"features are computed from the images: {error}")
    first = jax.process_index() == 0
    packed = PackedMasks()
    saving = saved_masks(masks, manifest.seeds, manifest.per_seed) if masks and first else nullcontext()
    with saving as save_png:

        def save_mask(episode: int, mask: np.ndarray) -> None:
            packed.save(episode, mask)
            if save_png is not None:
                save_png(episode, mask)

        episodes = model, variables, config, dataset, manifest
        result = evaluate(
            *episodes, source=source, baselines=True, samples=SAMPLES, save_mask=save_mask if first else None, say=say
        )
    summary = result_json(result, dataset, run)
    if first:
        curves = read_curves(workdir.log)
        page = html_report(summary, result, dataset, packed.read, curves=curves, config=trained)
        write_result(output, summary, result, dataset, page)
    return Scored(summary, [*result_files(output, manifest.seeds), report_file(output)], fresh=True)


def about_run(model: FewShotNetwork, config: ConfigDict, parameters: Any, **found: Any) -> dict[str, Any]:
    """The part of ``result.json`` about the network, by the config that it was trained with, and the machine.

    ``found`` holds ``checkpoint`` as it was asked for, its ``step``, ``weights_sha256`` of the backbone's file, and
    ``data_sha256`` of the dataset's splits.
    """
    return {
        **found,
        "trained_dataset": config.data.dataset,
        "trained_fold": config.fold,
        "trained_shots": config.shots,
        "trained_seed": config.seed,
        "network": config.model.network,
        "reading": config.reading if config.model.network == "mmnet" else None,
        "backbone": config.model.backbone,
        "parameters_sha256": parameters_sha256(parameters),
        "image_size": config.data.image_size,
        "dtype": dtype_name(model),
        **about_code("jax", "jaxlib", "flax"),
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def dtype_name(model: FewShotNetwork) -> str:
    """The type that products are taken in; a CPU emulates bfloat16 by rounding, and sums in float32."""
    name = jnp.dtype(model.dtype).name
    return f"{name}, emulated" if name == "bfloat16" and jax.default_backend() == "cpu" else name


def parameters_sha256(tree: Any) -> str:
    """SHA-256, in hexadecimal, over the names, types, shapes and bytes of a tree's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _standing(output: Path, run: dict[str, Any], manifest: Manifest) -> dict[str, Any] | None:
    """The summary in ``output`` if it is of this network on these episodes, and all its files are there."""
    files = result_files(output, manifest.seeds)
    if not all(file.is_file() for file in files):
        return None
    try:
        summary = json.loads(output.read_text())
        for file, part in zip(files[1:], manifest.by_seed(), strict=False):
            asked, now = json.loads(file.read_text()), json.loads(manifest_text(part))
            if now | asked != now:  # earlier manifests lack some of the fields
                return None
        same = all(summary[name] == run[name] for name in ("checkpoint", "step", "parameters_sha256", "weights_sha256"))
        same &= all(summary.get(name, run[name]) == run[name] for name in ("data_sha256", "dtype"))  # not in older ones
    except (ValueError, KeyError, TypeError):
        return None
    return summary if same else None
