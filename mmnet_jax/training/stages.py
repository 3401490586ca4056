"""A whole training: data, pretraining, the head, evaluation; each stage resumes where it stopped."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Say, duration
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import Dataset, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import Part
from mmnet_jax.data.prepare import ensure_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.checkpoint import Scored, restore, score_checkpoint
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.evaluation.report import write_example
from mmnet_jax.models.heads import HEADS
from mmnet_jax.training.head import train_head
from mmnet_jax.workdir.folder import Workdir, pretrains

# in ``results/`` of the workdir: the final evaluation, and a folder with one of its episodes
RESULT, EXAMPLE = "result.json", "example"


def train(config: ConfigDict, workdir: Workdir, say: Say = print, dataset: Dataset | None = None) -> Scored | None:
    """Trains the network that ``config`` describes, or resumes the training in ``workdir``.

    Up to four stages: generate the dataset; train the backbone as a classifier; train the head; evaluate the best
    checkpoint. Each writes its result atomically, so that the same call after a crash resumes there and ends with the
    same result.

    Args:
      config: resolved.
      workdir: created if it does not exist; locked during the call.
      dataset: instead of the prepared one that ``config`` names.

    Returns:
      The evaluation, if ``evaluation.after_training`` is set.

    Raises:
      UserError: the workdir is in use or holds another training, the data or the weights do not fit, or a loss is not
        finite.
      OSError: a file, which it names, could not be written; earlier files are intact.
      Stopped: after an interrupt in pretraining or training, with a checkpoint; elsewhere KeyboardInterrupt.
    """
    first = jax.process_index() == 0  # the one process that prints, and writes the files that all share
    spec = DATASETS[config.data.dataset]
    generated = spec.generated and dataset is None
    count = 1 + sum([generated, pretrains(config), config.evaluation.after_training])
    numbers = itertools.count(1)
    say = say if first else lambda line: None

    @contextmanager
    def stage(title: str) -> Iterator[None]:
        prefix, start = f"[{next(numbers)}/{count}]", time.perf_counter()
        say(f"{prefix} {title}")
        yield
        say(f"{prefix} done in {duration(time.perf_counter() - start)}")

    with workdir.lock() if first else nullcontext():
        resumed = workdir.resumes(config)
        multihost_utils.sync_global_devices("resumes")  # all have read the workdir before it changes

        # Data
        if generated:
            seed, folder = config.data.generator_seed, config.data.data_dir
            with stage(f"data: {config.data.dataset} of seed {seed} in {folder}"):
                if first and not ensure_dataset(*dataset_choice(config)[:3], say):
                    say("already generated")
                multihost_utils.sync_global_devices("data")
        dataset = dataset or open_dataset(*dataset_choice(config))

        # Everything that may be refused, before the workdir is written
        _check_classes(config, dataset)
        selection = manifest = None
        if episodes := config.training.evaluation_episodes:
            seed, *_ = PROTOCOLS[config.evaluation.protocol].seeds_or(config.seed)
            classes = config.training.select_on
            selection = configured_manifest(dataset, config, seed, episodes=episodes, classes=classes)
        if config.evaluation.after_training:
            manifest = configured_manifest(dataset, config)
        if resumed and workdir.data_sha256() not in (None, dataset.fingerprints()):
            say("note: the prepared images have changed since this training began; train on them in a new workdir")
        if first and not resumed:
            workdir.create(config, dataset.fingerprints())
        multihost_utils.sync_global_devices("workdir")

        # Backbone
        if pretrains(config):
            from mmnet_jax.pretraining.loop import pretrain

            images, steps = config.pretraining.dataset, config.pretraining.steps
            if images == "crops":
                images += f" of {len(dataset.classes(config.fold, 'base'))} base classes"
            with stage(f"pretraining: {config.model.backbone} as a classifier of {images}, {steps:,} steps"):
                if jax.process_count() > 1 and not workdir.backbone_file.is_file():
                    raise UserError("pretraining runs in one process: run it alone first, then train with several.")
                pretrain(config, workdir, say, dataset)

        # Head
        base = _list_classes(config, dataset, "base")
        with stage(f"training: {HEADS[config.model.network].title}'s head, {config.shots}-shot, {base}"):
            train_head(config, workdir, dataset, say, selection)

        # Evaluation
        if manifest is None:
            return None
        novel = _list_classes(config, dataset, "novel")
        with stage(f"evaluation: {len(manifest.episodes):,} episodes, {manifest.shots}-shot, {novel}"):
            output, example = workdir.results / RESULT, workdir.results / EXAMPLE
            scored = score_checkpoint(restore(workdir), config, dataset, manifest, output=output, keep=True, say=say)
            if not scored.fresh:
                say("already evaluated: the result of this checkpoint on these episodes is kept")
            if first and (scored.fresh or not example.exists()):
                write_example(example, manifest, dataset, scored.summary)
        return scored


def _check_classes(config: ConfigDict, dataset: Dataset) -> None:
    """Raises a ``UserError`` if the fold has no class to train on, or none to select a checkpoint by."""
    needed: dict[Part, str] = {"base": "add classes, or divide them into more folds"}
    if config.training.evaluation_episodes:
        needed.setdefault(config.training.select_on, "choose novel or base for training.select_on")
    for part, advice in needed.items():
        if not dataset.classes(config.fold, part):
            reason = f"has no {part} classes in fold {config.fold}, but training needs them"
            raise UserError(f"{dataset.name} {reason}; {advice}.")


def _list_classes(config: ConfigDict, dataset: Dataset, part: Part) -> str:
    """The classes as text, such as ``2 base classes (beetle, leaf)``, with at most five names."""
    names = [dataset.class_names[c] for c in dataset.classes(config.fold, part)]
    classes = "class" if len(names) == 1 else "classes"
    return f"{len(names)} {part} {classes}" + (f" ({', '.join(names)})" if len(names) <= 5 else "")
