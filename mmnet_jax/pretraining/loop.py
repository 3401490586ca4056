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
from mmnet_jax.devices import data_mesh, describe_devices, shardings
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
from mmnet_jax.training.loop import Job, Terms, run_steps
from mmnet_jax.training.state import TrainState
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir

CROP_RATIO = 1.25  # side of a crop over the side of the classifier's input: room for random windows


def pretrain(config: ConfigDict, workdir: Workdir, say: Say = print, dataset: Dataset | None = None) -> None:
    """Trains backbone ``model.backbone`` as a classifier, or resumes that, and writes ``workdir.backbone_file``.

    Checkpoints are kept in ``workdir.pretraining`` until the file exists; if it does, nothing is trained.

    Args:
      config: resolved; the caller checks that a run resumes with the config it began with.
      workdir: gets the checkpoints, the log in ``log/pretraining``, and the file, written atomically.
      dataset: for crops, instead of the prepared one that ``config`` names.

    Raises:
      UserError: the images are missing or damaged, or a loss is not finite.
      OSError: a file, which it names, could not be written; earlier checkpoints are intact.
      Stopped: after the first interrupt; a checkpoint was written.
    """
    folder = workdir.pretraining
    if workdir.backbone_file.exists():
        say("done before")
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed between its last two lines
        return
    settings, name = config.pretraining, config.model.backbone

    # Images, with some held out to measure the accuracy
    train, held_out = open_images(config, say, dataset)

    # State and update: the state is replicated over the mesh, the batch is split over it. Resuming is exact: batch b
    # depends on (seed, b) alone, and the random numbers of step i on (seed, i).
    mesh = data_mesh(settings.batch_size)
    everywhere, split = shardings(mesh)
    values, classifier = pretraining(config), create_classifier(name, train.classes)
    state = create_state(untrained_variables(name, train.classes, config.seed), create_optimizer(values))
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = classifier_step(classifier, values, mesh)

    def update(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        images, labels = batch
        state, scores = step_fn(state, images, labels, key)
        return state, scores._asdict()

    job = Job(
        name="pretraining",
        unit="images",
        steps=settings.steps,
        state=jax.device_put(state, everywhere),
        update=update,
        batches=lambda start: shuffled_batches(train, config.seed, settings.batch_size, start, config.data.workers),
        place=lambda batch: on_devices(batch, split),
        learning_rate=learning_rate(values),
        opening=f"{len(train):,} images of {train.classes} classes, {settings.steps:,} steps of {settings.batch_size} "
        f"images at {settings.image_size} px, {describe_devices(mesh)}; the first step compiles",
        describe=lambda terms: f"loss {terms['loss']:.3f}  top-1 {100 * terms['correct']:.1f}%",
    )
    folder.mkdir(parents=True, exist_ok=True)
    state = run_steps(job, settings, Checkpoints(folder, config), workdir.log / "pretraining", say)

    # Accuracy with the running statistics, and the file
    variables = state_variables(state)
    if len(held_out):
        count_fn = count_correct(classifier, settings.image_size, mesh)
        with closing(ordered_batches(held_out, settings.batch_size, config.data.workers)) as batches:
            counts = [count_fn(variables, *jax.device_put(batch, split)) for batch in batches]
        say(f"top-1 {100 * sum(map(int, counts)) / len(held_out):.1f}% on {len(held_out):,} held-out images")
    own = {collection: variables[collection].get("backbone", {}) for collection in ("backbone", "batch_stats")}
    weights.save_backbone(workdir.backbone_file, name, jax.device_get(own))
    shutil.rmtree(folder, ignore_errors=True)


def check_images(config: ConfigDict) -> None:
    """Raises a ``UserError`` if the dataset to pretrain on is missing or damaged."""
    if config.pretraining.dataset == "imagenet2012":
        open_images(config, print)
    else:
        open_dataset(*dataset_choice(config))


def open_images(config: ConfigDict, say: Say, dataset: Dataset | None = None) -> tuple[LabelledImages, LabelledImages]:
    """The training images, and held-out ones to measure the accuracy on."""
    settings = config.pretraining
    if settings.dataset == "imagenet2012":
        return open_imagenet(settings.data_dir or config.data.data_dir, settings.image_size, config.seed)
    dataset = dataset or open_dataset(*dataset_choice(config))
    classes = dataset.classes(config.fold, "base")
    side = math.ceil(CROP_RATIO * settings.image_size)
    train, held_out = (
        open_crops(split, classes, config.data.min_pixels, side, say) for split in (dataset.train, dataset.test)
    )
    if not len(train):
        raise UserError(
            f"no image of the {dataset.train.name} split holds {config.data.min_pixels} pixels of a base class of "
            f"fold {config.fold}, so there are no crops to pretrain on."
        )
    return train, held_out
