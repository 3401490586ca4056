"""The training loop of the head: steps, their log, checkpoints and evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mmnet_jax import evaluation
from mmnet_jax.data import Dataset, EpisodeIndex, training_batches, training_index
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import Manifest
from mmnet_jax.evaluation.progress import duration
from mmnet_jax.files import write_whole
from mmnet_jax.losses import Losses
from mmnet_jax.models.build import build_model, init_head
from mmnet_jax.models.mmnet import MMNet
from mmnet_jax.training.checkpoints import Checkpoints
from mmnet_jax.training.curve import draw_curve
from mmnet_jax.training.interrupts import Stopped, interrupts
from mmnet_jax.training.log import MetricLog
from mmnet_jax.training.state import TrainState, create_optimizer, create_state, learning_rate, state_variables
from mmnet_jax.training.step import data_mesh, train_step
from mmnet_jax.workdir import Workdir


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
    index = training_index(dataset, config)
    steps = total_steps(config, index)
    manifest = None
    if config.training.evaluation_episodes:
        manifest = evaluation.configured_manifest(
            dataset, config, episodes=config.training.evaluation_episodes, classes=config.training.select_on
        )

    # Network: trained parameters are replicated over the mesh, the batch is split over it.
    mesh = data_mesh(config.training.batch_size)
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    model = build_model(config)
    frozen = jax.device_put(workdir.frozen(config), everywhere)
    optimizer = create_optimizer(config, steps)
    state = create_state({"params": init_head(model, config.seed), **frozen}, optimizer, config)
    state = jax.device_put(state, everywhere)
    key = jax.jit(jax.random.key, out_shardings=everywhere)(config.seed)
    step_fn = train_step(model, optimizer, config, mesh)

    # Checkpoints: exact resume, since episode i is a function of (seed, i) alone and step i's randomness of (seed, i).
    checkpoints = Checkpoints(workdir.checkpoints, config)
    start = checkpoints.latest()
    if start is not None:
        state = checkpoints.restore(start, state)
        say(f"resuming {workdir.path} at step {start} of {steps}")
    start = start or 0
    log = MetricLog(workdir.log if first else None, start)
    batches = training_batches(
        dataset.train,
        index,
        config,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    if first:
        overview = parameter_overview.get_parameter_overview(state.params, include_stats=False)
        write_whole(workdir.log / "parameters.txt", (overview + "\n").encode())
    count = parameter_overview.count_parameters(state.params)
    say(
        f"{count:,} parameters on {len(index.admitted)} images of {len(index.support_lists)} classes, "
        f"{steps} steps of {config.training.batch_size} episodes, on {mesh.size} {jax.devices()[0].device_kind} "
        "device(s); the first step compiles"
    )

    pending: list[Losses] = []
    schedule = learning_rate(config, steps)
    clock = Clock(start, steps, config.training.batch_size)
    with interrupts() as interrupted, log, checkpoints, closing(batches):
        for step in range(start + 1, steps + 1):
            raw = jax.tree.map(lambda x: jax.make_array_from_process_local_data(split, x), next(batches))
            state, losses = step_fn(state, frozen, raw, key)
            pending.append(losses)
            evaluating = step == steps or (
                config.training.evaluate_every and step % config.training.evaluate_every == 0
            )
            saving = evaluating or step % config.training.checkpoint_every == 0 or interrupted()
            if saving or step % config.training.log_every == 0 or step == start + 1:
                terms = finite_mean(pending, step, checkpoints.latest())
                pending.clear()
                log.write(step, **terms, learning_rate=float(schedule(step - 1)), **clock.lap(step))
                say(clock.line(step, terms))
            if not saving:
                continue
            refuse_broken(state, step, checkpoints.latest())
            miou = None
            if evaluating and manifest is not None:
                miou = evaluate_now(model, state_variables(state, frozen), config, dataset, manifest, step, say)
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


def finite_mean(pending: list[Losses], step: int, saved: int | None) -> dict[str, float]:
    """The mean of each term over the steps up to ``step`` that have not been looked at yet.

    Raises:
      UserError: naming the first step whose loss is not finite, and the step of the newest checkpoint, ``saved``.
    """
    values = np.asarray(jax.device_get([tuple(losses) for losses in pending]), np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        first = step - len(values) + 1 + int(broken[0])
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(Losses._fields, values[broken[0]], strict=True))
        raise UserError(f"the loss of step {first} is not finite ({terms}); {_newest(saved)}.")
    return dict(zip(Losses._fields, values.mean(axis=0).tolist(), strict=True))


def refuse_broken(state: TrainState, step: int, saved: int | None) -> None:
    """Raises a ``UserError`` if the update of ``step``, whose loss was finite, left parameters that are not."""
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(f"the parameters after step {step} are not finite; {_newest(saved)}.")


def _newest(saved: int | None) -> str:
    return "there is no checkpoint yet" if saved is None else f"the newest checkpoint is of step {saved}"


def evaluate_now(
    model: MMNet,
    variables: dict[str, Any],
    config: ConfigDict,
    dataset: Dataset,
    manifest: Manifest,
    step: int,
    say: Callable[[str], None],
) -> float:
    """mIoU (%) at this step, on the classes that the best checkpoint is chosen on."""
    result = evaluation.evaluate(model, variables, config, dataset, manifest, progress=say)
    low, high = result.interval95
    say(
        f"step {step}: {config.training.select_on} mIoU {result.miou:.2f} [{low:.2f}, {high:.2f}] "
        f"over {result.episodes} episodes, FB-IoU {result.fb_iou:.2f}"
    )
    return result.miou


class Clock:
    """Speed and time left, compilation and evaluation not counted."""

    def __init__(self, start: int, steps: int, batch_size: int) -> None:
        self._steps, self._batch_size = steps, batch_size
        self._last, self._since = start, time.perf_counter()
        self._speed = math.nan

    def lap(self, step: int) -> dict[str, float]:
        """Episodes/s since the last lap; the first lap, which compiles, gives none."""
        now = time.perf_counter()
        done, seconds = step - self._last, now - self._since
        first = math.isnan(self._speed) and done == 1 and self._steps > 1
        self._last, self._since = step, now
        if first:
            return {}
        self._speed = done / seconds
        return {"episodes_per_second": self._speed * self._batch_size}

    def pause(self) -> None:
        """What passed since the last lap does not count."""
        self._since = time.perf_counter()

    def line(self, step: int, terms: dict[str, float]) -> str:
        losses = (
            f"loss {terms['total']:.4f} (main {terms['main']:.4f} auxiliary {terms['auxiliary']:.4f} "
            f"reconstruction {terms['reconstruction']:.4f})"
        )
        if math.isnan(self._speed):
            return f"step {step}/{self._steps}  {losses}"
        eta = duration((self._steps - step) / self._speed)
        return f"step {step}/{self._steps}  {losses}  {self._speed * self._batch_size:.2f} episodes/s  ETA {eta}"
