"""Pretraining: a backbone trained as a classifier, of a dataset's base classes or of ImageNet."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.pretraining.classifier import create_classifier, untrained_variables
from mmnet_jax.pretraining.crops import open_crops
from mmnet_jax.pretraining.imagenet import open_imagenet
from mmnet_jax.pretraining.labelled import LabelledImages, ordered_batches, shuffled_batches
from mmnet_jax.pretraining.step import (
    classifier_step,
    count_correct,
    create_optimizer,
    create_state,
    learning_rate,
    state_variables,
)
from mmnet_jax.training.clock import Clock
from mmnet_jax.training.finite import finite_mean, refuse_broken
from mmnet_jax.training.step import data_mesh
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.log import MetricLog

ROOM = 1.25
"""Side of the crops that are cut from a dataset, times the side of those that are trained on: room to move these."""


def pretrain(config: ConfigDict, workdir: Path, output: Path, say: Callable[[str], None] = print) -> None:
    """Trains backbone ``model.backbone`` as a classifier and leaves it in a file; goes on where it was stopped.

    Checkpoints are kept in ``workdir / "pretraining"`` until the file is there; a run that finds the file does nothing.

    Args:
      config: resolved; ``pretraining``, ``model.backbone``, ``seed`` and ``data.workers`` are read, and for crops
        ``fold`` and what names the dataset. The caller sees to it that a run goes on with the config it began with.
      workdir: for the checkpoints, and for the log in ``log/pretraining``.
      output: the file, as ``weights.load_backbone`` reads it; it appears whole or not at all.
      say: gets a line of progress every ``pretraining.log_every`` steps.

    Raises:
      UserError: the images are missing or damaged, or a loss is not finite.
      OSError: naming a file that could not be written; the checkpoints written before are whole.
      Stopped: after the first interrupt (Ctrl-C, SIGTERM); a checkpoint was written.
    """
    folder = workdir / "pretraining"
    if output.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed between its last two lines
        return
    settings = config.pretraining
    name, steps = config.model.backbone, settings.steps

    # Images: a sequence of batches, each a pure function of (seed, its number).
    train, held_out = open_images(config, say)

    # Network: the state is replicated over the mesh, the batch is split over it.
    mesh = data_mesh(settings.batch_size)
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    classifier = create_classifier(name, train.classes)
    optimizer = create_optimizer(settings)
    state = create_state(untrained_variables(name, train.classes, config.seed), optimizer)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = classifier_step(classifier, optimizer, settings, mesh)

    # Checkpoints: exact resume, since batch b is a function of (seed, b) alone and step i's randomness of (seed, i).
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, config)
    start = checkpoints.latest()
    if start is not None:
        state = checkpoints.restore(start, state)
        say(f"resuming at step {start} of {steps}")
    start = start or 0
    if start < steps:
        say(
            f"{len(train):,} images of {train.classes} classes, {steps:,} steps of {settings.batch_size} images at "
            f"{settings.image_size} px, {mesh.size} {jax.devices()[0].device_kind} device(s); the first step compiles"
        )

    pending: list[dict[str, Array]] = []
    schedule = learning_rate(settings)
    clock = Clock(start, steps, settings.batch_size, "images")
    incoming = shuffled_batches(train, config.seed, settings.batch_size, start, config.data.workers)
    log = MetricLog(workdir / "log" / "pretraining", start)
    with interrupts() as interrupted, log, checkpoints, closing(incoming):
        for step in range(start + 1, steps + 1):
            images, labels = jax.device_put(next(incoming), split)
            state, scores = step_fn(state, images, labels, key)
            pending.append(scores._asdict())
            saving = step == steps or step % settings.checkpoint_every == 0 or interrupted()
            if saving or step % settings.log_every == 0 or step == start + 1:
                terms = finite_mean(pending, step, checkpoints.latest())
                pending.clear()
                log.write(step, **terms, learning_rate=float(schedule(step - 1)), **clock.lap(step))
                say(clock.line(step, f"loss {terms['loss']:.3f}  top-1 {100 * terms['correct']:.1f}%"))
            if not saving:
                continue
            refuse_broken(state, step, checkpoints.latest())
            checkpoints.save(state)
            if interrupted():
                checkpoints.wait()
                raise Stopped(f"pretraining stopped at step {step} of {steps}; a checkpoint is saved.")
    if interrupted():
        raise Stopped(f"pretraining stopped after step {steps} of {steps}; a checkpoint is saved.")

    variables = jax.device_get(state_variables(state))
    if len(held_out):
        top1 = evaluate_classifier(state_variables(state), config, held_out)
        say(f"top-1 {top1:.1f}% on {len(held_out):,} images that were held out")
    own = {collection: variables[collection].get("backbone", {}) for collection in ("backbone", "batch_stats")}
    weights.save_backbone(output, name, own)
    shutil.rmtree(folder, ignore_errors=True)


def check_images(config: ConfigDict) -> None:
    """Raises a ``UserError`` if the dataset to pretrain on is not there, or damaged."""
    if config.pretraining.dataset == "imagenet2012":
        _open_imagenet(config)
    else:
        open_dataset(*dataset_choice(config))


def open_images(config: ConfigDict, say: Callable[[str], None]) -> tuple[LabelledImages, LabelledImages]:
    """What a backbone is pretrained on, and images that are held out to see what it has learnt.

    Raises:
      UserError: there are none, or they cannot be read.
    """
    settings = config.pretraining
    if settings.dataset == "imagenet2012":
        return _open_imagenet(config)
    if settings.dataset != "crops":
        raise UserError("pretraining.dataset is none: set it to crops or imagenet2012.")
    dataset = open_dataset(*dataset_choice(config))
    classes = dataset.classes(config.fold, "base")
    side = math.ceil(ROOM * settings.image_size)
    train, held_out = (
        open_crops(split, classes, config.data.min_pixels, side, say) for split in (dataset.train, dataset.test)
    )
    if not len(train):
        raise UserError(
            f"no image of the {dataset.train.name} split holds {config.data.min_pixels} pixels of a base class of "
            f"fold {config.fold}, so there are no crops to pretrain on."
        )
    return train, held_out


def _open_imagenet(config: ConfigDict) -> tuple[LabelledImages, LabelledImages]:
    settings = config.pretraining
    return open_imagenet(settings.data_dir or config.data.data_dir, settings.image_size, config.seed)


def evaluate_classifier(variables: dict[str, Any], config: ConfigDict, images: LabelledImages) -> float:
    """Share of ``images``, in percent, whose class the classifier finds, with its running statistics."""
    settings = config.pretraining
    mesh = data_mesh(settings.batch_size)
    split = NamedSharding(mesh, PartitionSpec("data"))
    classifier = create_classifier(config.model.backbone, images.classes)
    count_fn = count_correct(classifier, settings.image_size, mesh)
    with closing(ordered_batches(images, settings.batch_size, config.data.workers)) as batches:
        counts = [count_fn(variables, *jax.device_put(batch, split)) for batch in batches]
    return 100 * sum(map(int, counts)) / len(images)
