"""Pretraining: a backbone trained as a classifier of a dataset's base classes or of ImageNet."""

import math
import shutil
from contextlib import closing
from typing import Any

import jax
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.progress import Say
from mmnet_jax.config.values import dataset_choice, pretraining
from mmnet_jax.data.batches import on_devices
from mmnet_jax.data.dataset import Dataset, open_dataset
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
from mmnet_jax.training.loop import Terms, run_steps
from mmnet_jax.training.state import TrainState
from mmnet_jax.training.step import data_mesh, describe_devices, shardings
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir

ROOM = 1.25  # side of the crops cut from a dataset, over the side of those trained on: room to move these


def pretrain(config: ConfigDict, workdir: Workdir, say: Say = print, dataset: Dataset | None = None) -> None:
    """Trains backbone ``model.backbone`` as a classifier and writes ``workdir.backbone_file``, or resumes that.

    Checkpoints are kept in ``workdir.pretraining`` until the file exists; a call that finds the file does nothing.

    Args:
      config: resolved; the caller checks that a run resumes with the config it began with.
      workdir: for the checkpoints, the log in ``log/pretraining``, and the file, which appears whole or not at all.
      dataset: for crops, instead of the prepared one that ``config`` names.

    Raises:
      UserError: the images are missing or damaged, or a loss is not finite.
      OSError: naming a file that could not be written; the checkpoints written before are whole.
      Stopped: after the first interrupt; a checkpoint was written.
    """
    folder = workdir.pretraining
    if workdir.backbone_file.exists():
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed between its last two lines
        return
    settings, name = config.pretraining, config.model.backbone

    # Images, with some held out to measure the accuracy.
    train, held_out = open_images(config, say, dataset)

    # State and update: the state is replicated over the mesh, the batch is split over it. Resuming is exact: batch b is
    # a function of (seed, b) alone, and what step i draws of (seed, i).
    mesh = data_mesh(settings.batch_size)
    everywhere, split = shardings(mesh)
    values = pretraining(config)
    state = create_state(untrained_variables(name, train.classes, config.seed), create_optimizer(values))
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = classifier_step(create_classifier(name, train.classes), values, mesh)

    def update(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        images, labels = batch
        state, scores = step_fn(state, images, labels, key)
        return state, scores._asdict()

    folder.mkdir(parents=True, exist_ok=True)
    state = run_steps(
        "pretraining",
        state,
        update,
        lambda start: shuffled_batches(train, config.seed, settings.batch_size, start, config.data.workers),
        lambda batch: on_devices(batch, split),
        settings,
        settings.steps,
        Checkpoints(folder, config),
        workdir.log / "pretraining",
        say,
        opening=f"{len(train):,} images of {train.classes} classes, {settings.steps:,} steps of {settings.batch_size} "
        f"images at {settings.image_size} px, {describe_devices(mesh)}; the first step compiles",
        unit="images",
        learning_rate=learning_rate(values),
        describe=lambda terms: f"loss {terms['loss']:.3f}  top-1 {100 * terms['correct']:.1f}%",
    )
    variables = state_variables(state)
    if len(held_out):
        top1 = evaluate_classifier(variables, config, held_out)
        say(f"top-1 {top1:.1f}% on {len(held_out):,} images that were held out")
    own = {collection: variables[collection].get("backbone", {}) for collection in ("backbone", "batch_stats")}
    weights.save_backbone(workdir.backbone_file, name, jax.device_get(own))
    shutil.rmtree(folder, ignore_errors=True)


def check_images(config: ConfigDict) -> None:
    """Raises a ``UserError`` if the dataset to pretrain on is not there, or damaged."""
    if config.pretraining.dataset == "imagenet2012":
        _open_imagenet(config)
    else:
        open_dataset(*dataset_choice(config))


def open_images(config: ConfigDict, say: Say, dataset: Dataset | None = None) -> tuple[LabelledImages, LabelledImages]:
    """The images to pretrain on, and held-out ones to measure the accuracy on."""
    settings = config.pretraining
    if settings.dataset == "imagenet2012":
        return _open_imagenet(config)
    if settings.dataset != "crops":
        raise UserError("pretraining.dataset is none: set it to crops or imagenet2012.")
    dataset = dataset or open_dataset(*dataset_choice(config))
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
    """Top-1 accuracy on ``images``, in percent, with the running statistics."""
    settings = config.pretraining
    mesh = data_mesh(settings.batch_size)
    _, split = shardings(mesh)
    classifier = create_classifier(config.model.backbone, images.classes)
    count_fn = count_correct(classifier, settings.image_size, mesh)
    with closing(ordered_batches(images, settings.batch_size, config.data.workers)) as batches:
        counts = [count_fn(variables, *jax.device_put(batch, split)) for batch in batches]
    return 100 * sum(map(int, counts)) / len(images)
