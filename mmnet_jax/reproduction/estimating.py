"""How long runs would take here: from logs of runs on this machine where there are any, else from a convolution."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.episodes import training_index
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import PROTOCOLS
from mmnet_jax.features.store import rows_to_compute
from mmnet_jax.reproduction.costs import episode_cost, image_cost
from mmnet_jax.reproduction.launching import HEADER, log_of
from mmnet_jax.reproduction.requirements import missing_data
from mmnet_jax.reproduction.runs import Run
from mmnet_jax.reproduction.states import Planned
from mmnet_jax.training.loop import total_steps
from mmnet_jax.weights import sha256
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.log import read_lines

ASSUMED_IMAGES = {"pascal5i": 5_000, "coco20i": 70_000}
"""About how many training images a fold admits, for datasets that are not there to be asked."""

SKIPPED_LAPS = 1
"""The first speed in a log is of few steps."""


class Rate(NamedTuple):
    """How fast this machine is."""

    operations: float
    """Floating-point operations a second, of one process."""
    source: str
    """Where that comes from."""
    own: Mapping[Path, float] = {}
    """The same of single configurations, by the folder of their folds."""

    def of(self, run: Run) -> float:
        """Operations a second of a run like this one."""
        return self.own.get(run.folder.parents[1], self.operations)


def logged_rate(runs: Path) -> Rate | None:
    """What the logs of this machine's runs tell, medians; None where there are none."""
    rates: dict[Path, list[float]] = {}
    for log in sorted(runs.glob("**/log/metrics.jsonl")):
        workdir = log.parents[1]
        if _host(log_of(workdir)) != platform.node():
            continue
        records = [json.loads(line) for line in read_lines(log)]
        speeds = [record["episodes_per_second"] for record in records if "episodes_per_second" in record]
        try:
            config = Workdir(workdir).load_config()
        except UserError:
            continue
        if speeds[SKIPPED_LAPS:]:
            speed = statistics.median(speeds[SKIPPED_LAPS:])
            rates.setdefault(workdir.parents[1], []).append(speed * episode_cost(config).training)
    if not rates:
        return None
    every = [rate for of_one in rates.values() for rate in of_one]
    own = {folder: statistics.median(of_one) for folder, of_one in rates.items()}
    return Rate(statistics.median(every), f"by the logs of {len(every)} run(s) on this machine", own)


def _host(log: Path) -> str | None:
    """The machine on which a run was last started."""
    try:
        headers = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(HEADER)]
    except OSError:
        return None
    return headers[-1].partition(" on ")[2].partition(": ")[0] if headers else None


def measured_rate(parallel: int, seconds: float = 1.0) -> Rate:
    """What a 3x3 convolution, most of the work, reaches in about a second; a training is slower than that.

    Args:
      parallel: processes that share one processor.
      seconds: how long to measure.
    """
    x, kernel = jnp.ones((1, 60, 60, 256)), jnp.ones((3, 3, 256, 256))
    convolve = jax.jit(
        lambda x, kernel: jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    jax.block_until_ready(convolve(x, kernel))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        jax.block_until_ready(convolve(x, kernel))
        done += 1
    operations = 2 * 9 * 256 * 256 * 60 * 60 * done / (time.perf_counter() - start)
    device = jax.devices()[0]
    shared = parallel if device.platform == "cpu" else 1
    return Rate(
        operations / shared, f"at the speed of a convolution on this {device.device_kind}, which a training stays below"
    )


def remaining_seconds(planned: Planned, rate: Rate) -> float:
    """Of a run, from where it stands."""
    run, state = planned
    if state.kind == "done":
        return 0.0
    config, cost = run.config, episode_cost(run.config)
    steps, _ = training_steps(config)
    batch, training = config.training.batch_size, config.training
    left, every = max(0, steps - state.step), training.evaluate_every or steps
    evaluations = left and steps // every - state.step // every + bool(steps % every)
    evaluated = evaluations * training.evaluation_episodes + evaluation_episodes(config)
    return (left * batch * cost.training + evaluated * cost.evaluation) / rate.of(run)


def store_seconds(runs: Sequence[Run], rate: Rate) -> float:
    """Of computing the frozen features that these runs read and that are not stored yet, once for all of them."""
    by_store: dict[tuple[Any, ...], tuple[Run, int]] = {}
    for run in runs:
        config = run.config
        if not config.training.cache_features:
            continue
        key = (config.model.backbone, config.model.weights, config.data.image_size, config.data.dataset)
        # what one network wants masked, others leave out: the one that wants most counts
        if (rows := _rows_to_compute(config)) > by_store.get(key, (run, 0))[1]:
            by_store[key] = run, rows
    return sum(rows * image_cost(run.config) / rate.of(run) for run, rows in by_store.values())


def _rows_to_compute(config: ConfigDict) -> int:
    if missing_data(config):
        return ASSUMED_IMAGES.get(config.data.dataset, 0)
    dataset, weights = open_dataset(config), config.model.weights
    known = sha256(weights) if weights and Path(weights).is_file() else ""
    return rows_to_compute(config, known, [dataset.train, dataset.test])


def evaluation_episodes(config: ConfigDict) -> int:
    """Of the result."""
    return config.evaluation.episodes or PROTOCOLS[config.evaluation.protocol].episodes[config.data.dataset]


def training_steps(config: ConfigDict) -> tuple[int, bool]:
    """Steps of a whole training, and whether they rest on an assumed number of images."""
    if config.training.steps is not None:
        return config.training.steps, False
    dataset = config.data.dataset
    if dataset in ASSUMED_IMAGES and missing_data(config):
        return config.training.epochs * (ASSUMED_IMAGES[dataset] // config.training.batch_size), True
    return total_steps(config, training_index(open_dataset(config), config)), False


def in_all(seconds: Sequence[float], parallel: int) -> float:
    """Of all runs when so many go on at a time, each begun as soon as there is room."""
    ends = [0.0] * parallel
    for one in seconds:
        ends.sort()
        ends[0] += one
    return max(ends)
