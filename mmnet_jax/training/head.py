"""Training of the head: everything but the backbone."""

import functools
from typing import Any

import jax
from clu import parameter_overview
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.progress import Say
from mmnet_jax.config.values import augmentation, network_settings, objective, sgd
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.episodes import training_index
from mmnet_jax.devices import data_mesh, describe_devices, shardings
from mmnet_jax.drawing.curve import draw_curve
from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.markdown import with_interval
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.resident import resident
from mmnet_jax.features.source import image_source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.storage.files import write_atomically
from mmnet_jax.training.loop import Job, Terms, run_steps
from mmnet_jax.training.state import TrainState, create_optimizer, create_state, learning_rate, state_variables
from mmnet_jax.training.step import train_step
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir


def train_head(config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Say, selection: Manifest | None) -> None:
    """Trains everything but the backbone, or resumes from the newest checkpoint; the arguments are ``open_training``'s.

    Writes checkpoints, the log, an overview of the parameters and a figure of the curves.
    """
    job = open_training(config, workdir, dataset, say, selection)
    first = jax.process_index() == 0
    if first:
        workdir.log.mkdir(parents=True, exist_ok=True)
        overview = parameter_overview.get_parameter_overview(job.state.params, include_stats=False)
        write_atomically(workdir.log / "parameters.txt", (overview + "\n").encode())
    run_steps(job, config.training, Checkpoints(workdir.checkpoints, config), workdir.log, say)
    if first:
        draw_curve(workdir.log, workdir.results / "training.png")


def open_training(
    config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Say, selection: Manifest | None = None
) -> Job:
    """The training that ``config`` describes.

    Args:
      config: resolved.
      workdir: as ``Workdir.create`` left it, with the weights of its backbone.
      dataset: whose training split makes the episodes.
      selection: the test episodes that select the best checkpoint; None evaluates nothing while training.
    """
    settings = config.training
    size = settings.batch_size

    # Episodes and steps: an epoch leaves out the last incomplete batch.
    choices = {name: config.data[name] for name in ("drop_novel", "distinct_supports", "class_sampling")}
    index = training_index(dataset, config.fold, config.shots, config.data.min_pixels, **choices)
    steps = settings.steps or settings.epochs * index.episodes_per_epoch(size) // size

    # Network: trained parameters and the backbone are replicated over the mesh, the batch is split over it.
    mesh = data_mesh(size)
    everywhere, split = shardings(mesh)
    model = build_model(network_settings(config))
    frozen = jax.device_put(workdir.frozen(model, config), everywhere)

    # Input: images, or their frozen features where these are stored; read for each batch, or kept on the devices.
    test_source = None
    if settings.cache_features:
        sha256 = weights.sha256(workdir.backbone_file)
        # Stored features are of padded images; other protocols evaluate from images.
        padded = PROTOCOLS[config.evaluation.protocol].fit == "pad"
        splits = [dataset.train, dataset.test] if padded else [dataset.train]
        source, *others = stored_sources(config, model, frozen, sha256, splits, say)
        test_source = others[0] if padded else None
    else:
        transform = augmentation(config) if config.data.augment else None
        source = image_source(dataset.train, config.data.image_size, augmentation=transform)
    if config.data.resident:
        source = resident(source, dataset.train, everywhere, say)
    batches = functools.partial(
        training_batches,
        source.load,
        index,
        seed=config.seed,
        batch_size=size,
        workers=0 if settings.cache_features or config.data.resident else config.data.workers,  # nothing to decode
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

    # State and update. Resuming is exact: episode i depends on (seed, i) alone, and so do the random numbers of step i.
    optimizer = sgd(config, steps)
    variables = {"params": init_head(model, config.seed), **frozen}
    state = create_state(variables, create_optimizer(optimizer), model.batch_statistics)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = train_step(model, source.encoder, optimizer, objective(config), settings.accumulate, mesh)

    def update(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        state, losses = step_fn(state, frozen, batch, key)
        return state, losses.by_name()

    # Evaluation on the classes that select the best checkpoint.
    def measure(state: TrainState, step: int) -> float:
        assert selection is not None
        variables = state_variables(state, frozen)
        scores = evaluate(model, variables, config, dataset, selection, source=test_source, say=say).scores
        miou = f"{settings.select_on} mIoU {with_interval(scores.miou, scores.interval95, '.2f')}"
        say(f"step {step}: {miou} over {len(selection.episodes)} episodes, FB-IoU {scores.fb_iou:.2f}")
        return scores.miou

    return Job(
        name="training",
        unit="episodes",
        steps=steps,
        state=state,
        update=update,
        batches=lambda start: batches(start_step=start),
        place=lambda batch: source.place(batch, split),
        learning_rate=learning_rate(optimizer),
        opening=f"{parameter_overview.count_parameters(state.params):,} parameters, {len(index.admitted)} images of "
        f"{len(index.support_lists)} classes, {steps} steps of {size} episodes, {describe_devices(mesh)}; "
        "the first step compiles",
        describe=_losses,
        evaluate=measure if selection else None,
    )


def _losses(terms: dict[str, Any]) -> str:
    parts = " ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "total")
    return f"loss {terms['total']:.4f} ({parts})"
