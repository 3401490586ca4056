"""The training loop of the head: steps, their log, checkpoints and evaluations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax
from clu import parameter_overview
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.config.values import network_settings
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.episodes import EpisodeIndex, training_index
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.drawing.curve import draw_curve
from mmnet_jax.evaluation.protocols import Manifest, configured_manifest
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.features.store import FeatureStore, open_stores
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.storage.files import write_whole
from mmnet_jax.training.clock import Clock
from mmnet_jax.training.finite import finite_mean, refuse_broken
from mmnet_jax.training.state import create_optimizer, create_state, learning_rate, state_variables
from mmnet_jax.training.step import data_mesh, train_step
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.log import MetricLog


def train_head(config: ConfigDict, workdir: Workdir, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Trains everything but the backbone, or goes on where ``workdir`` stands.

    Args:
      config: resolved.
      workdir: as ``Workdir.create`` left it, with its backbone; resumed from its newest checkpoint if there is one.
      dataset: that ``config`` names.
      say: gets a line of progress every ``training.log_every`` steps.

    Raises:
      UserError: a loss is not finite.
      OSError: naming a file that could not be written; the checkpoints written before are whole.
      Stopped: after the first interrupt (Ctrl-C, SIGTERM); a checkpoint was written.
    """
    # Of several processes the first one speaks, and writes all but the checkpoints.
    first = jax.process_index() == 0

    # Data: which images make episodes, and how many steps that is.
    index = training_index(dataset, config.fold, config.shots, config.data.min_pixels, config.data.drop_novel)
    steps = total_steps(config, index)
    manifest = None
    if config.training.evaluation_episodes:
        manifest = configured_manifest(
            dataset, config, episodes=config.training.evaluation_episodes, classes=config.training.select_on
        )

    # Network: trained parameters are replicated over the mesh, the batch is split over it.
    mesh = data_mesh(config.training.batch_size)
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    model = build_model(network_settings(config))
    frozen = jax.device_put(workdir.frozen(config), everywhere)
    optimizer = create_optimizer(config, steps)
    state = create_state({"params": init_head(model, config.seed), **frozen}, optimizer, config)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = train_step(model, optimizer, config, mesh)

    # Frozen features: read where they are stored, instead of computed at every step.
    train_store, test_store = None, None
    if config.training.cache_features:
        train_store, test_store = open_stores(
            config, model, frozen, weights.sha256(workdir.backbone_file), [dataset.train, dataset.test], say
        )

    # Checkpoints: exact resume, since episode i is a function of (seed, i) alone and step i's randomness of (seed, i).
    checkpoints = Checkpoints(workdir.checkpoints, config)
    start = checkpoints.latest()
    if start is not None:
        state = checkpoints.restore(start, state)
        say(f"{'resuming' if start < steps else 'done before:'} {workdir.path} at step {start} of {steps}")
    start = start or 0
    log = MetricLog(workdir.log if first else None, start)
    batches = training_batches(
        train_store.load if train_store else functools.partial(load_episodes, dataset.train),
        index,
        seed=config.seed,
        batch_size=config.training.batch_size,
        start_step=start,
        workers=0 if train_store else config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if first:
        overview = parameter_overview.get_parameter_overview(state.params, include_stats=False)
        write_whole(workdir.log / "parameters.txt", (overview + "\n").encode())
    count = parameter_overview.count_parameters(state.params)
    if start < steps:
        say(
            f"{count:,} parameters, {len(index.admitted)} images of {len(index.support_lists)} classes, {steps} steps "
            f"of {config.training.batch_size} episodes, {mesh.size} {jax.devices()[0].device_kind} device(s); the "
            "first step compiles"
        )

    pending: list[dict[str, Array]] = []
    schedule = learning_rate(config, steps)
    clock = Clock(start, steps, config.training.batch_size, "episodes")
    with interrupts() as interrupted, log, checkpoints, closing(batches):
        for step in range(start + 1, steps + 1):
            raw = jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), next(batches))
            state, losses = step_fn(state, frozen, raw, key)
            pending.append(losses.by_name())
            evaluating = step == steps or (
                config.training.evaluate_every and step % config.training.evaluate_every == 0
            )
            saving = evaluating or step % config.training.checkpoint_every == 0 or interrupted()
            if saving or step % config.training.log_every == 0 or step == start + 1:
                terms = finite_mean(pending, step, checkpoints.latest())
                pending.clear()
                log.write(step, **terms, learning_rate=float(schedule(step - 1)), **clock.lap(step))
                say(clock.line(step, _losses(terms)))
            if not saving:
                continue
            refuse_broken(state, step, checkpoints.latest())
            miou = None
            if evaluating and manifest is not None:
                variables = state_variables(state, frozen)
                miou = evaluate_now(model, variables, config, dataset, manifest, step, say, test_store)
                log.write(step, miou=miou)
                clock.pause()
            checkpoints.save(state, miou)
            if interrupted():
                checkpoints.wait()
                raise Stopped(f"stopped at step {step} of {steps}; a checkpoint is saved.")
    if interrupted():
        raise Stopped(f"stopped after step {steps} of {steps}; a checkpoint is saved.")
    if first:
        draw_curve(workdir.log, workdir.results / "training.png")


def total_steps(config: ConfigDict, index: EpisodeIndex) -> int:
    """Optimisation steps of the whole training; an epoch leaves out a last incomplete batch."""
    if config.training.steps is not None:
        return config.training.steps
    batch_size = config.training.batch_size
    return config.training.epochs * index.episodes_per_epoch(batch_size) // batch_size


def _losses(terms: dict[str, float]) -> str:
    parts = " ".join(f"{name} {value:.4f}" for name, value in terms.items() if name != "total")
    return f"loss {terms['total']:.4f} ({parts})"


def evaluate_now(
    model: FewShotNetwork,
    variables: dict[str, Any],
    config: ConfigDict,
    dataset: Dataset,
    manifest: Manifest,
    step: int,
    say: Callable[[str], None],
    store: FeatureStore | None,
) -> float:
    """mIoU (%) at this step, on the classes that the best checkpoint is chosen on."""
    result = evaluate(model, variables, config, dataset, manifest, store=store, say=say)
    low, high = result.interval95
    say(
        f"step {step}: {config.training.select_on} mIoU {result.miou:.2f} [{low:.2f}, {high:.2f}] "
        f"over {result.episodes} episodes, FB-IoU {result.fb_iou:.2f}"
    )
    return result.miou
