"""The step loop of pretraining and training: updates, log, finite checks, checkpoints, evaluations, interrupts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.errors import UserError
from mmnet_jax.training.state import TrainState
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.log import MetricLog

Terms = dict[str, Array]
"""Scalars of one step by name: the loss and its parts."""


class Every(NamedTuple):
    """Steps between two log lines, checkpoints and evaluations; 0 for at the end alone."""

    log: int
    checkpoint: int
    evaluation: int = 0


def resume(checkpoints: Checkpoints, state: TrainState, steps: int, say: Say) -> tuple[TrainState, int]:
    """The newest checkpoint's state and step, or ``state`` and 0 where there is none."""
    start = checkpoints.latest()
    if start is None:
        return state, 0
    say(f"{'resuming' if start < steps else 'done before:'} {checkpoints.path.parent} at step {start} of {steps}")
    return checkpoints.restore(start, state), start


def run_steps(
    what: str,
    state: TrainState,
    update: Callable[[TrainState, Any], tuple[TrainState, Terms]],
    batches: Any,
    sharding: Sharding,
    *,
    start: int,
    steps: int,
    every: Every,
    checkpoints: Checkpoints,
    log: MetricLog,
    progress: Progress,
    unit: str,
    learning_rate: Callable[[int], Any],
    describe: Callable[[dict[str, float]], str],
    evaluate: Callable[[TrainState, int], float] | None = None,
) -> TrainState:
    """Updates ``state`` from step ``start`` to ``steps``; saves it, logs and evaluates on the way.

    Args:
      what: the stage, for messages.
      state: that of step ``start``; donated.
      update: ``(state, batch) -> (state, loss terms)``.
      batches: iterator over this process's part of each batch, from that of step ``start + 1`` on; closed at the end.
      sharding: of a batch.
      start: steps taken before.
      steps: the last step.
      every: steps between log lines, checkpoints and evaluations.
      checkpoints: closed at the end, with everything saved.
      log: closed at the end.
      progress: reports at every log line.
      unit: what it counts; names the speed in the log.
      learning_rate: by step, counted from 0.
      describe: the loss terms, averaged since the last log line, in words.
      evaluate: ``(state, step) -> mIoU``, which chooses the best checkpoint.

    Returns:
      The state after the last step.

    Raises:
      UserError: a loss or a parameter is not finite.
      OSError: naming a file that could not be written; the checkpoints written before are whole.
      Stopped: after the first interrupt; a checkpoint was written.
    """
    pending: list[Terms] = []
    with interrupts() as stop_requested, log, checkpoints, progress, closing(batches):
        for step in range(start + 1, steps + 1):
            batch = jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), next(batches))
            state, terms = update(state, batch)
            pending.append(terms)
            stop = stop_requested(step)
            evaluating = step == steps or _due(step, every.evaluation)
            saving = stop or evaluating or _due(step, every.checkpoint)
            if saving or step == start + 1 or _due(step, every.log):
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
                checkpoints.wait()
                raise Stopped(f"{what} stopped at step {step} of {steps}; a checkpoint is saved.")
        if stop_requested(steps + 1):
            checkpoints.wait()
            raise Stopped(f"{what} stopped after step {steps} of {steps}; a checkpoint is saved.")
    return state


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def finite_mean(pending: Sequence[Terms], step: int, saved: int | None) -> dict[str, float]:
    """The mean of each loss term over the last steps.

    Args:
      pending: the terms of the steps up to ``step`` since the last call.
      step: the last of them.
      saved: step of the newest checkpoint.

    Raises:
      UserError: naming the first step whose loss is not finite, and the newest checkpoint.
    """
    names = list(pending[0])
    values = np.array([[terms[name] for name in names] for terms in jax.device_get(pending)], np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        first = step - len(values) + 1 + int(broken[0])
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(names, values[broken[0]], strict=True))
        raise UserError(f"the loss of step {first} is not finite ({terms}); {_newest(saved)}.")
    return dict(zip(names, values.mean(axis=0).tolist(), strict=True))


def refuse_broken(state: TrainState, step: int, saved: int | None) -> None:
    """Raises a ``UserError`` if the update of ``step``, whose loss was finite, left parameters that are not."""
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(f"the parameters after step {step} are not finite; {_newest(saved)}.")


def _newest(saved: int | None) -> str:
    return "there is no checkpoint yet" if saved is None else f"the newest checkpoint is of step {saved}"
