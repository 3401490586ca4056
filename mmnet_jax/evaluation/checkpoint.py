"""A training's checkpoint scored, and the files of what it scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import Dataset, open_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import Manifest, manifest_text
from mmnet_jax.evaluation.report import about_run, result_files, result_json, write_result
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.source import Source, image_source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models import FewShotNetwork
from mmnet_jax.storage.files import REFUSED
from mmnet_jax.workdir.folder import Workdir, load_step

SAMPLES = 12
"""Episodes on the sheet of pictures."""


class Scored(NamedTuple):
    """What an evaluation left."""

    summary: dict[str, Any]
    """The content of its ``result.json``."""
    files: list[Path]
    """``result.json`` first."""
    fresh: bool
    """False where the result was there already."""


def score_workdir(
    workdir: Workdir,
    config: ConfigDict,
    choose: Callable[[Dataset], Manifest],
    *,
    dataset: Dataset | None = None,
    checkpoint: str = "best",
    output: Path | None = None,
    keep: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Scored:
    """Scores a checkpoint with both baselines and writes the result, its manifest, the table and a sheet of pictures.

    Args:
      workdir: of a training.
      config: the workdir's, in which the free fields may be others.
      choose: gives the episodes, once the dataset is open.
      dataset: instead of the prepared one that ``config`` names.
      checkpoint: ``"best"``, ``"latest"`` or a step.
      output: the result's file; in ``results/`` of the workdir, named by the episodes, if not given.
      keep: where ``output`` is the result of the same parameters on the same episodes, leave it.
      say: gets lines of progress.

    Raises:
      UserError: the workdir, the checkpoint or the dataset is missing or damaged.
      OSError: naming a file that cannot be written.
    """
    model, variables, _, step = load_step(workdir.path, checkpoint)
    variables = jax.device_get(variables)  # from one device of each process, to be laid on those of all
    dataset = dataset or open_dataset(*dataset_choice(config))
    manifest = choose(dataset)
    output = output or workdir.results / f"{manifest_name(manifest)}_step{step}.json"
    run = about_run(
        config,
        checkpoint=checkpoint,
        step=step,
        parameters=variables["params"],
        weights_sha256=weights.sha256(workdir.backbone_file),
        data_sha256=dataset.fingerprints(),
    )
    if keep and (standing := _standing(output, run, manifest_text(manifest, dataset))):
        return Scored(standing, result_files(output), fresh=False)
    result = evaluate(
        model,
        variables,
        config,
        dataset,
        manifest,
        source=_source(config, model, variables, run["weights_sha256"], dataset, say),
        baselines=True,
        samples=SAMPLES,
        say=say,
    )
    summary = result_json(result, dataset, run)
    if jax.process_index() == 0:
        write_result(output, summary, result, dataset)
    return Scored(summary, result_files(output), fresh=True)


def _source(
    config: ConfigDict,
    model: FewShotNetwork,
    variables: dict[str, Any],
    weights_sha256: str,
    dataset: Dataset,
    say: Callable[[str], None],
) -> Source:
    """The test images, or their stored features if the training had them and there is a place for them here too."""
    if config.training.cache_features:
        try:
            return stored_sources(config, model, variables, weights_sha256, [dataset.test], say)[0]
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            say(f"{error.filename} cannot be written ({error.strerror}): features are computed from the images")
        except UserError as error:
            say(f"features are computed from the images: {error}")
    return image_source(dataset.test, config.data.image_size)


def manifest_name(manifest: Manifest) -> str:
    """Such as pfenet_pascal5i_fold1_1shot_5000episodes_seed321."""
    return (
        f"{manifest.protocol}_{manifest.dataset}_fold{manifest.fold}_{manifest.shots}shot_"
        f"{len(manifest.episodes)}episodes_seed{manifest.seed}"
    )


def _standing(output: Path, run: dict[str, Any], manifest: str) -> dict[str, Any] | None:
    """The summary in ``output`` if it is of this network on these episodes, and all its files are there."""
    files = result_files(output)
    if not all(file.is_file() for file in files) or files[1].read_text() != manifest:
        return None
    try:
        summary = json.loads(output.read_text())
        same = all(summary[name] == run[name] for name in ("checkpoint", "step", "parameters_sha256", "weights_sha256"))
        same &= summary.get("data_sha256", run["data_sha256"]) == run["data_sha256"]  # older results have none
    except (ValueError, KeyError, TypeError):
        return None
    return summary if same else None
