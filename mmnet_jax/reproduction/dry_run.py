"""What a call would do, told without doing it: the rows, their runs, where each stands and how long it would take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from mmnet_jax.cli.progress import duration
from mmnet_jax.reproduction.launching import slots, visible_gpus
from mmnet_jax.reproduction.requirements import missing
from mmnet_jax.reproduction.runs import Settings
from mmnet_jax.reproduction.states import Planned, State
from mmnet_jax.reproduction.tables import Table, TableRow


def describe(
    table: Table, rows: Sequence[TableRow], plan: Sequence[Planned], settings: Settings, parallel: int | None
) -> Iterator[str]:
    """The lines, for people.

    Args:
      table: asked for.
      rows: those of its rows that are.
      plan: their runs.
      settings: of the call.
      parallel: runs at a time, if given.
    """
    yield table.title
    for row in rows:
        printed = f", paper: {' '.join(map(str, row.paper.folds))}, mean {row.paper.mean}" if row.paper else ""
        module, colon, name = row.config.partition(":")
        yield f"  {row.name}: {row.label} (configs/{module}.py{colon}{name}){printed}"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU may be busy with runs
    from mmnet_jax.reproduction.estimating import (
        in_all,
        logged_rate,
        measured_rate,
        remaining_seconds,
        store_seconds,
        training_steps,
    )

    gpus = visible_gpus()
    at_a_time = len(slots(gpus, parallel, sum(state.kind in ("begun", "new") for _, state in plan)))
    rate = logged_rate(settings.runs) or measured_rate(at_a_time)
    seconds = []
    width = max((len(run.name) for run, _ in plan), default=0)
    for planned in plan:
        run, state = planned
        seconds.append(remaining_seconds(planned, rate) if state.kind in ("begun", "new") else 0.0)
        time = f", {duration(seconds[-1])}" if seconds[-1] else ""
        yield f"{run.name:{width}}  {_standing(state)}{time}  {state.workdir}"
    for _, state in plan:
        for place in state.passed_over:
            yield f"left alone: {place}"
    assumed = {run.config.data.dataset for run, _ in plan if training_steps(run.config)[1]}
    guess = f"; the number of images of {', '.join(sorted(assumed))} is assumed" if assumed else ""
    stores = store_seconds([run for run, state in plan if state.kind in ("begun", "new")], rate)
    if stores:
        yield f"frozen features are computed first, once for all: {duration(stores)}"
    whole = stores + sum(seconds)
    yield (
        f"{sum(s > 0 for s in seconds)} of {len(plan)} runs to be made: about {duration(whole)} of training and "
        f"evaluation, {duration(stores + in_all(seconds, at_a_time))} with {at_a_time} at a time ({rate.source}{guess})"
    )
    for clause in missing([run for run, state in plan if state.kind in ("begun", "new")]):
        yield f"missing: {clause}"


def _standing(state: State) -> str:
    return {
        "done": "done",
        "running": f"being trained, at step {state.step} or later",
        "begun": f"goes on from step {state.step}",
        "new": "not begun",
    }[state.kind]
