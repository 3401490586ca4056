"""A training from nothing to a result: data, pretraining, the head, evaluation; each goes on where it was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import duration
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import Dataset, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.checkpoint import Scored, score_workdir
from mmnet_jax.evaluation.example import write_example
from mmnet_jax.evaluation.protocols import configured_manifest
from mmnet_jax.features.store import fingerprints
from mmnet_jax.models.heads import HEADS
from mmnet_jax.training.loop import train_head
from mmnet_jax.workdir.folder import Workdir, pretrains

RESULT, EXAMPLE = "result.json", "example"
"""In ``results/`` of the workdir: of the evaluation that ends a training, and the folder of an episode to try."""


def train(config: ConfigDict, workdir: Workdir, say: Callable[[str], None] = print) -> Scored | None:
    """Trains the network that ``config`` describes, or goes on where ``workdir`` stands.

    The stages, those of them that ``config`` asks for: a generated dataset is made; the backbone is trained as a
    classifier; the head is trained; the best checkpoint is evaluated. Each leaves what the next one needs, whole or not
    at all, so that the same call after a crash goes on from there and ends with the same result.

    Args:
      config: resolved.
      workdir: made if it is new, kept from other trainings meanwhile.
      say: gets the lines that tell what happens.

    Returns:
      The evaluation, where ``evaluation.after_training`` asks for it.

    Raises:
      UserError: the workdir is in use or holds another training, the data or the weights do not fit, or a loss is not
        finite.
      OSError: naming a file that could not be written; what was written before is whole.
      Stopped: after an interrupt in pretraining or training; a checkpoint was written.
      KeyboardInterrupt: after one elsewhere.
    """
    first = jax.process_index() == 0  # of several processes this one speaks, and makes what all share
    steps = Steps(config, say if first else _nothing)
    with workdir.lock() if first else nullcontext():
        resumed = workdir.resumes(config)
        multihost_utils.sync_global_devices("looked")  # before anything there is changed
        if DATASETS[config.data.dataset].generated:
            seed, folder = config.data.generator_seed, config.data.data_dir
            with steps.step(f"data: {config.data.dataset} of seed {seed} in {folder}"):
                if first:
                    _make_data(config, steps.say)
                multihost_utils.sync_global_devices("data")
        dataset = open_dataset(*dataset_choice(config))
        if first and not resumed:
            workdir.create(config, fingerprints(dataset))
        multihost_utils.sync_global_devices("workdir")
        if pretrains(config):
            with steps.step(f"pretraining: {_pretraining(config)}"):
                _pretrain(config, workdir, steps.say)
        base = _classes(config, dataset, "base")
        with steps.step(f"training: {HEADS[config.model.network].title}'s head, {config.shots}-shot, {base}"):
            train_head(config, workdir, dataset, steps.say)
        if not config.evaluation.after_training:
            return None
        manifest = configured_manifest(dataset, config)
        novel = _classes(config, dataset, "novel")
        with steps.step(f"evaluation: {len(manifest.episodes):,} episodes, {manifest.shots}-shot, {novel}"):
            scored = score_workdir(
                workdir, config, lambda _: manifest, output=workdir.results / RESULT, keep=True, say=steps.say
            )
            if not scored.fresh:
                steps.say("the result of this very network and these episodes is there already")
            if first and (scored.fresh or not (workdir.results / EXAMPLE).exists()):
                write_example(workdir.results / EXAMPLE, manifest, dataset, scored.summary)
        return scored


class Steps:
    """Announces each stage, with its number among those that a config asks for, and tells how long it took."""

    def __init__(self, config: ConfigDict, say: Callable[[str], None]) -> None:
        self.say = say
        self._count = 1 + sum(
            [DATASETS[config.data.dataset].generated, pretrains(config), bool(config.evaluation.after_training)]
        )
        self._number = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Around a stage."""
        self._number += 1
        start = time.perf_counter()
        self.say(f"[{self._number}/{self._count}] {what}")
        yield
        self.say(f"[{self._number}/{self._count}] done in {duration(time.perf_counter() - start)}")


def _make_data(config: ConfigDict, say: Callable[[str], None]) -> None:
    from mmnet_jax.data.prepare import ensure_dataset

    if not ensure_dataset(*dataset_choice(config), say):
        say("there already")


def _pretrain(config: ConfigDict, workdir: Workdir, say: Callable[[str], None]) -> None:
    from mmnet_jax.pretraining.loop import pretrain

    if workdir.backbone_file.is_file():
        say("done before")
    elif jax.process_count() > 1:
        raise UserError("pretraining runs in one process: run it alone first, then train with several.")
    if jax.process_count() == 1:
        pretrain(config, workdir.path, workdir.backbone_file, say)


def _pretraining(config: ConfigDict) -> str:
    backbone, source = config.model.backbone, config.pretraining.dataset
    if source == "crops":
        count = len(DATASETS[config.data.dataset].classes(config.fold, "base"))
        source = f"crops of {count} base classes"
    return f"{backbone} as a classifier of {source}, {config.pretraining.steps:,} steps"


def _classes(config: ConfigDict, dataset: Dataset, which: Any) -> str:
    names = [dataset.class_names[c] for c in dataset.classes(config.fold, which)]
    return f"{len(names)} {which} classes" + (f" ({', '.join(names)})" if len(names) <= 5 else "")


def _nothing(line: str) -> None:
    pass
