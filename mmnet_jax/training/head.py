"""Training of the head: everything but the backbone."""

from __future__ import annotations

from typing import Any

import jax
from clu import parameter_overview
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.config.values import augmentation, network_settings, objective, sgd
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.episodes import EpisodeIndex, training_index
from mmnet_jax.drawing.curve import draw_curve
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.source import image_source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.storage.files import write_whole
from mmnet_jax.training.loop import Every, Terms, resume, run_steps
from mmnet_jax.training.state import TrainState, create_optimizer, create_state, learning_rate, state_variables
from mmnet_jax.training.step import data_mesh, shardings, train_step
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.log import MetricLog


def train_head(config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Say) -> None:
    """Trains everything but the backbone, or continues from the newest checkpoint.

    Args:
      config: resolved.
      workdir: as ``Workdir.create`` left it, with its backbone.
      dataset: the one that ``config`` names.
      say: gets the log lines and progress.

    Raises:
      UserError: a loss is not finite.
      OSError: naming a file that could not be written; the checkpoints written before are whole.
      Stopped: after the first interrupt; a checkpoint was written.
    """
    settings = config.training
    first = jax.process_index() == 0  # of several processes one writes all but the checkpoints

    # Data: the images that make episodes, and the number of steps.
    index = training_index(dataset, config.fold, config.shots, config.data.min_pixels, config.data.drop_novel)
    steps = total_steps(config, index)

    # Network: trained parameters are replicated over the mesh, the batch is split over it.
    mesh = data_mesh(settings.batch_size)
    everywhere, split = shardings(mesh)
    model = build_model(network_settings(config))
    frozen = jax.device_put(workdir.frozen(config), everywhere)

    # Sources: images, or their frozen features where these are stored.
    if settings.cache_features:
        sha256 = weights.sha256(workdir.backbone_file)
        source, test_source = stored_sources(config, model, frozen, sha256, [dataset.train, dataset.test], say)
    else:
        size = config.data.image_size
        source = image_source(dataset.train, size, augmentation=augmentation(config) if config.data.augment else None)
        test_source = None

    # State and update.
    optimizer = sgd(config, steps)
    variables = {"params": init_head(model, config.seed), **frozen}
    state = create_state(variables, create_optimizer(optimizer), model.batch_statistics)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = train_step(model, source.encoder, optimizer, objective(config), settings.accumulate, mesh)

    # Exact resume: episode i is a function of (seed, i) alone, and so is the randomness of step i.
    checkpoints = Checkpoints(workdir.checkpoints, config)
    state, start = resume(checkpoints, state, steps, say)
    batches = training_batches(
        source.load,
        index,
        seed=config.seed,
        batch_size=settings.batch_size,
        start_step=start,
        workers=0 if settings.cache_features else config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    log = MetricLog(workdir.log if first else None, start)
    if first:
        overview = parameter_overview.get_parameter_overview(state.params, include_stats=False)
        write_whole(workdir.log / "parameters.txt", (overview + "\n").encode())
    if start < steps:
        say(
            f"{parameter_overview.count_parameters(state.params):,} parameters, {len(index.admitted)} images of "
            f"{len(index.support_lists)} classes, {steps} steps of {settings.batch_size} episodes, {mesh.size} "
            f"{jax.devices()[0].device_kind} device(s); the first step compiles"
        )

    # Evaluation on the classes by which the best checkpoint is chosen.
    manifest = None
    if settings.evaluation_episodes:
        manifest = configured_manifest(
            dataset, config, episodes=settings.evaluation_episodes, classes=settings.select_on
        )

    def measure(state: TrainState, step: int) -> float:
        assert manifest is not None
        variables = state_variables(state, frozen)
        result = evaluate(model, variables, config, dataset, manifest, source=test_source, say=say)
        scores = result.scores
        low, high = scores.interval95
        say(
            f"step {step}: {settings.select_on} mIoU {scores.miou:.2f} [{low:.2f}, {high:.2f}] "
            f"over {len(manifest.episodes)} episodes, FB-IoU {scores.fb_iou:.2f}"
        )
        return scores.miou

    def update(state: TrainState, batch: Any) -> tuple[TrainState, Terms]:
        state, losses = step_fn(state, frozen, batch, key)
        return state, losses.by_name()

    run_steps(
        "training",
        state,
        update,
        batches,
        split,
        start=start,
        steps=steps,
        every=Every(settings.log_every, settings.checkpoint_every, settings.evaluate_every),
        checkpoints=checkpoints,
        log=log,
        progress=Progress("step", steps, "episodes", say, start=start, size=settings.batch_size),
        unit="episodes",
        learning_rate=learning_rate(optimizer),
        describe=_losses,
        evaluate=measure if manifest else None,
    )
    if first:
        draw_curve(workdir.log, workdir.results / "training.png")


def total_steps(config: ConfigDict, index: EpisodeIndex) -> int:
    """Optimisation steps of the whole training; an epoch leaves out a last incomplete batch."""
    if config.training.steps is not None:
        return config.training.steps
    batch_size = config.training.batch_size
    return config.training.epochs * index.episodes_per_epoch(batch_size) // batch_size


def _losses(terms: dict[str, Any]) -> str:
    parts = " ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "total")
    return f"loss {terms['total']:.4f} ({parts})"
