"""The step loop of pretraining and training: updates, log, finite checks, checkpoints, evaluation, interrupts."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.errors import UserError
from mmnet_jax.training.state import TrainState
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.log import MetricLog

Terms = dict[str, Array]  # scalars of one step by name: the loss and its parts


class Job(NamedTuple):
    """A training of a head or of a backbone, ready for its first step."""

    name: str  # in messages: training or pretraining
    unit: str  # the items of a batch: episodes or images
    steps: int
    state: TrainState
    update: Callable[[TrainState, Any], tuple[TrainState, Terms]]  # one step; donates the state
    batches: Callable[[int], Any]  # iterates from a step on over this process's part of each batch
    place: Callable[[Any], Any]  # puts that part on the devices
    learning_rate: Callable[[int], Any]
    opening: str  # printed before the first step
    describe: Callable[[dict[str, float]], str]  # the mean terms in a log line
    evaluate: Callable[[TrainState, int], float] | None = None  # the mIoU that selects the best checkpoint


def run_steps(job: Job, settings: ConfigDict, checkpoints: Checkpoints, log_folder: Path, say: Say) -> TrainState:
    """Trains from the newest checkpoint, or from ``job.state`` if there is none, to step ``job.steps``.

    ``settings`` is the config's section. Of several processes only the first writes the log. Each batch is put on the
    devices while the step before it runs.

    Raises:
      UserError: a loss or the parameters are not finite.
      Stopped: after an interrupt; a checkpoint was written.
    """
    state, steps = job.state, job.steps
    start = checkpoints.latest() or 0
    if start:
        state = checkpoints.restore(start, state)
        say(f"{'resuming' if start < steps else 'done before:'} {checkpoints.path.parent} at step {start} of {steps}")
    if start < steps:
        say(job.opening)
    evaluate_every = settings.get("evaluate_every") or steps
    pending: list[Terms] = []
    log, incoming = MetricLog(log_folder if jax.process_index() == 0 else None, start), job.batches(start)
    progress = Progress("step", steps, job.unit, say, start=start, size=settings.batch_size)
    with interrupts() as stop_requested, log, checkpoints, progress, closing(incoming):
        batch = job.place(next(incoming)) if start < steps else None
        for step in range(start + 1, steps + 1):
            state, terms = job.update(state, batch)
            pending.append(terms)
            if step < steps:
                batch = job.place(next(incoming))
            stop = stop_requested(step)
            evaluating = step == steps or step % evaluate_every == 0
            saving = stop or evaluating or step % settings.checkpoint_every == 0
            if saving or step == start + 1 or step % settings.log_every == 0:
                means = finite_mean(pending, step, checkpoints.latest())
                pending.clear()
                rate = progress.report(step, job.describe(means))
                speed = {} if rate is None else {f"{job.unit}_per_second": rate}
                log.write(step, **means, learning_rate=float(job.learning_rate(step - 1)), **speed)
            if saving:
                check_finite(state, step, checkpoints.latest())
                miou = None
                if evaluating and job.evaluate is not None:
                    with progress.paused():
                        miou = job.evaluate(state, step)
                    log.write(step, miou=miou)
                checkpoints.save(state, miou)
            if stop:
                break
        else:
            step, stop = steps, stop_requested(steps + 1)
        if stop:
            checkpoints.wait()
            raise Stopped(f"{job.name} stopped at step {step} of {steps}; a checkpoint is saved.")
    return state


def finite_mean(pending: Sequence[Terms], step: int, saved: int | None) -> dict[str, float]:
    """The mean of each term over the steps up to ``step``.

    Raises a ``UserError`` naming the first step whose terms are not finite, and the newest checkpoint ``saved``.
    """
    fetched = jax.device_get(pending)
    values = np.array([[terms[name] for name in pending[0]] for terms in fetched], np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        terms = ", ".join(f"{name} {fetched[broken[0]][name]:g}" for name in pending[0])
        first = step - len(values) + 1 + int(broken[0])
        raise UserError(f"the loss of step {first} is not finite ({terms}); {_newest(saved)}.")
    return dict(zip(pending[0], values.mean(axis=0).tolist(), strict=True))


def check_finite(state: TrainState, step: int, saved: int | None) -> None:
    """Raises a ``UserError`` if the update of ``step``, whose loss was finite, left parameters that are not."""
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(f"the parameters after step {step} are not finite; {_newest(saved)}.")


def _newest(saved: int | None) -> str:
    return "there is no checkpoint yet" if saved is None else f"the newest checkpoint is of step {saved}"
