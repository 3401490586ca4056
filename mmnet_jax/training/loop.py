"""The step loop of pretraining and training: updates, log, finite checks, checkpoints, evaluation, interrupts."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

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


def run_steps(
    what: str,
    state: TrainState,
    update: Callable[[TrainState, Any], tuple[TrainState, Terms]],
    batches: Callable[[int], Any],
    place: Callable[[Any], Any],
    settings: ConfigDict,
    steps: int,
    checkpoints: Checkpoints,
    log_folder: Path | None,
    say: Say,
    *,
    opening: str,
    unit: str,
    learning_rate: Callable[[int], Any],
    describe: Callable[[dict[str, float]], str],
    evaluate: Callable[[TrainState, int], float] | None = None,
) -> TrainState:
    """Updates the newest checkpoint's state, or ``state`` where there is none, until step ``steps``.

    ``state`` is donated. ``batches(start)`` iterates over this process's part of each batch, which ``place`` puts on
    the devices while the step before it runs. ``log_folder`` is None in a process that writes none.
    ``evaluate(state, step)`` gives the mIoU by which the best checkpoint is chosen.
    """
    start = checkpoints.latest() or 0
    if start:
        state = checkpoints.restore(start, state)
        say(f"{'resuming' if start < steps else 'done before:'} {checkpoints.path.parent} at step {start} of {steps}")
    if start < steps:
        say(opening)
    pending: list[Terms] = []
    log, incoming = MetricLog(log_folder, start), batches(start)
    progress = Progress("step", steps, unit, say, start=start, size=settings.batch_size)
    with interrupts() as stop_requested, log, checkpoints, progress, closing(incoming):
        batch = place(next(incoming)) if start < steps else None
        for step in range(start + 1, steps + 1):
            state, terms = update(state, batch)
            pending.append(terms)
            if step < steps:
                batch = place(next(incoming))
            stop = stop_requested(step)
            evaluating = step == steps or _due(step, settings.get("evaluate_every", 0))
            saving = stop or evaluating or _due(step, settings.checkpoint_every)
            if saving or step == start + 1 or _due(step, settings.log_every):
                means = finite_mean(pending, step, checkpoints.latest())
                pending.clear()
                rate = progress.report(step, describe(means))
                speed = {} if rate is None else {f"{unit}_per_second": rate}
                log.write(step, **means, learning_rate=float(learning_rate(step - 1)), **speed)
            if saving:
                refuse_broken(state, step, checkpoints.latest())
                miou = None
                if evaluating and evaluate is not None:
                    with progress.paused():
                        miou = evaluate(state, step)
                    log.write(step, miou=miou)
                checkpoints.save(state, miou)
            if stop:
                break
        else:
            step, stop = steps, stop_requested(steps + 1)
        if stop:
            checkpoints.wait()
            raise Stopped(f"{what} stopped at step {step} of {steps}; a checkpoint is saved.")
    return state


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def finite_mean(pending: Sequence[Terms], step: int, saved: int | None) -> dict[str, float]:
    """The mean of each loss term over the last steps."""
    fetched = jax.device_get(pending)
    values = np.array([[terms[name] for name in pending[0]] for terms in fetched], np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        terms = ", ".join(f"{name} {fetched[broken[0]][name]:g}" for name in pending[0])
        first = step - len(values) + 1 + int(broken[0])
        raise UserError(f"the loss of step {first} is not finite ({terms}); {_newest(saved)}.")
    return dict(zip(pending[0], values.mean(axis=0).tolist(), strict=True))


def refuse_broken(state: TrainState, step: int, saved: int | None) -> None:
    """Raises a ``UserError`` if the update of ``step``, whose loss was finite, left parameters that are not."""
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(f"the parameters after step {step} are not finite; {_newest(saved)}.")


def _newest(saved: int | None) -> str:
    return "there is no checkpoint yet" if saved is None else f"the newest checkpoint is of step {saved}"
