"""Evaluation of a workdir's checkpoint, and the files of its result."""

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
from mmnet_jax.evaluation.saved_masks import pack_mask, saved_masks, unpack_mask
from mmnet_jax.evaluation.sheet import SAMPLES
from mmnet_jax.features.source import Source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.storage.files import REFUSED
from mmnet_jax.workdir.folder import Workdir, load_step


class Restored(NamedTuple):
    """The network of a workdir at one checkpoint."""

    workdir: Workdir
    checkpoint: str
    """``best``, ``latest`` or a step, as requested."""
    model: FewShotNetwork
    variables: dict[str, Any]
    """On the host."""
    config: ConfigDict
    """The training's, resolved."""
    step: int
    weights_sha256: str
    """SHA-256 of the backbone's file."""


class Scored(NamedTuple):
    """The summary and the files of an evaluation."""

    summary: dict[str, Any]
    """The content of ``result.json``."""
    files: list[Path]
    """``result.json`` first."""
    fresh: bool
    """False if an existing result was reused."""


def restore(workdir: Workdir, checkpoint: str = "best") -> Restored:
    """Loads the checkpoint ``best``, ``latest`` or a step; ``UserError`` if it or the workdir is missing or damaged."""
    model, variables, config, step = load_step(workdir.path, checkpoint)
    sha256 = weights.sha256(workdir.backbone_file)
    return Restored(workdir, checkpoint, model, jax.device_get(variables), config, step, sha256)


def score_checkpoint(
    network: Restored,
    config: ConfigDict,
    dataset: Dataset,
    manifest: Manifest,
    *,
    output: Path | None = None,
    keep: bool = False,
    masks: Path | None = None,
    notes: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Scored:
    """Scores a checkpoint and its baselines, and writes ``result_files`` and ``report_file``.

    Args:
      config: the training's, apart from free fields and those of ``dataset``.
      output: the result's file; if None, in ``results/`` of the workdir, named after the episodes.
      keep: reuse ``output`` if it is the result of the same parameters on the same episodes.
      masks: an absent or empty folder for the predicted masks, see ``saved_masks``.
      notes: sentences to store in the result.

    Raises:
      OSError: naming a file that cannot be written.
    """
    output = output or network.workdir.results / f"{manifest.name}_step{network.step}.json"
    run: dict[str, Any] = about_run(network) | {"data_sha256": dataset.fingerprints()}
    run |= {"notes": list(notes)} if notes else {}
    files = [*result_files(output, manifest.seeds), report_file(output)]
    if keep and (summary := _existing_result(output, run, manifest)):
        return Scored(summary, [file for file in files if file.is_file()], fresh=False)
    first = jax.process_index() == 0
    packed: dict[int, tuple[tuple[int, ...], bytes]] = {}
    saving = saved_masks(masks, manifest.seeds, manifest.per_seed) if masks and first else nullcontext()
    with saving as save_png:

        def save_mask(episode: int, mask: np.ndarray) -> None:
            packed[episode] = pack_mask(mask)
            if save_png is not None:
                save_png(episode, mask)

        result = evaluate(
            network.model,
            network.variables,
            config,
            dataset,
            manifest,
            source=_stored_features(network, config, dataset, say) if manifest.rules.fit == "pad" else None,
            baselines=True,
            samples=SAMPLES,
            save_mask=save_mask if first else None,
            say=say,
        )
    summary = result_json(result, dataset, run)
    if first:
        curves = read_curves(network.workdir.log)
        read_mask = lambda episode: unpack_mask(*packed[episode])  # noqa: E731
        page = html_report(summary, result, dataset, read_mask, curves=curves, config=network.config)
        write_result(output, summary, result, dataset, page)
    return Scored(summary, files, fresh=True)


def _stored_features(
    network: Restored, config: ConfigDict, dataset: Dataset, say: Callable[[str], None]
) -> Source | None:
    """The stored features of the test split; None if the config does not want them or they cannot be written."""
    if not config.training.cache_features:
        return None
    try:
        splits = [dataset.test]
        (source,) = stored_sources(config, network.model, network.variables, network.weights_sha256, splits, say)
        return source
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        reason = f"{error.filename} cannot be written ({error.strerror})"
    except UserError as error:
        reason = str(error).rstrip(".")
    say(f"note: features are computed from the images: {reason}")
    return None


def about_run(network: Restored) -> dict[str, Any]:
    """The part of ``result.json`` about the network, its training and the machine."""
    config = network.config
    return {
        "checkpoint": network.checkpoint,
        "step": network.step,
        "weights_sha256": network.weights_sha256,
        "trained_dataset": config.data.dataset,
        "trained_fold": config.fold,
        "trained_shots": config.shots,
        "trained_seed": config.seed,
        "network": config.model.network,
        "reading": config.reading if config.model.network == "mmnet" else None,
        "backbone": config.model.backbone,
        "parameters_sha256": parameters_sha256(network.variables["params"]),
        "image_size": config.data.image_size,
        "dtype": dtype_name(network.model),
        **about_code("jax", "jaxlib", "flax"),
        "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def dtype_name(model: FewShotNetwork) -> str:
    """The type of matrix products; a CPU emulates bfloat16 by rounding, and sums in float32."""
    name = jnp.dtype(model.dtype).name
    return f"{name}, emulated" if name == "bfloat16" and jax.default_backend() == "cpu" else name


def parameters_sha256(tree: Any) -> str:
    """SHA-256 in hexadecimal of the names, types, shapes and bytes of a tree's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _existing_result(output: Path, run: dict[str, Any], manifest: Manifest) -> dict[str, Any] | None:
    """The summary in ``output`` if it is of this network on these episodes and its files are complete."""
    files = result_files(output, manifest.seeds)
    if not all(file.is_file() for file in files):
        return None
    try:
        summary = json.loads(output.read_text())
        for file, part in zip(files[1:], manifest.by_seed(), strict=False):
            stored, drawn = json.loads(file.read_text()), json.loads(manifest_text(part))
            if drawn | stored != drawn:  # manifests of earlier versions lack some of the fields
                return None
        same = all(summary[name] == run[name] for name in ("checkpoint", "step", "parameters_sha256", "weights_sha256"))
        same &= all(summary.get(name, run[name]) == run[name] for name in ("data_sha256", "dtype"))  # results too
    except (ValueError, KeyError, TypeError):
        return None
    return summary if same else None
