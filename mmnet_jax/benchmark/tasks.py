"""The tasks to measure: inference, training steps, and a matrix product as the peak of the device."""

import dataclasses
import functools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mmnet_jax.cli.compilation import trim_after_compilation
from mmnet_jax.config import from_dict, resolve
from mmnet_jax.config.values import network_settings, objective, sgd
from mmnet_jax.episode import Episode
from mmnet_jax.features.source import ImageEncoder
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.training.step import update_fn

TASKS = "episode", "query", "step"
"""Inference with supports encoded for each query, inference with one support set encoded before, a training step."""


class Task(NamedTuple):
    """A compiled task."""

    run: Callable[[], Any]
    """Runs the task once and waits for the result."""
    facts: dict[str, Any]
    """``precision`` of products, ``compile_s`` (seconds to trace and compile), ``flop`` of one run, ``device``."""
    peak_bytes: Callable[[], int | None]
    """Peak memory so far, bytes: the device's, or on a CPU the resident memory of the process."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One task with random weights; ``batch_size`` is the number of episodes, or of queries with one support set."""

    backbone: str
    image_size: int
    task: str
    shots: int
    batch_size: int
    reading: str = "paper"
    dtype: str = "auto"

    def config(self) -> ConfigDict:
        """The config of the network; raises a ``UserError`` if it is invalid, as with an image size of 100 px."""
        fields = {"reading": self.reading, "shots": self.shots, "data": {"image_size": self.image_size}}
        model = {"backbone": self.backbone, "dtype": self.dtype, "batch_norm": "frozen", "random_backbone": True}
        return resolve(from_dict(fields | {"model": model}))

    def open(self) -> Task:
        trim_after_compilation()  # as the commands do
        config = self.config()
        model = build_model(network_settings(config))
        frozen = frozen_variables(model, random_variables(self.backbone))
        variables = {"params": init_head(model, 0), **frozen}
        episode = random_episode(config, self.batch_size)
        arguments: tuple[Any, ...] = (variables, episode)
        if self.task == "query":
            encode = jax.jit(functools.partial(model.apply, method="encode_support"))
            state = encode(variables, episode.support_images[0], episode.support_labels[0])
            arguments = variables, episode.query_image, state
        elif self.task == "step":
            optimizer = create_optimizer(sgd(config, 1000))
            arguments = create_state(variables, optimizer, False), frozen, episode, jax.random.key(0)
        # counted on a batch of images, because XLA counts a loop over images as one iteration
        flop = _jitted(self.task, model.clone(sequential=False), config).lower(*arguments).cost_analysis()["flops"]
        start = time.perf_counter()
        compiled = _jitted(self.task, model, config).lower(*arguments).compile()
        compile_s = time.perf_counter() - start

        def run() -> None:
            nonlocal arguments
            result = jax.block_until_ready(compiled(*arguments))
            if self.task == "step":  # the state was donated
                arguments = result[0], *arguments[1:]

        return Task(run, _facts(model.dtype) | {"compile_s": compile_s, "flop": flop}, peak_bytes)


@dataclasses.dataclass(frozen=True)
class MatrixProduct:
    """Products of two square matrices in the type of ``model.dtype``; their FLOP/s are the peak of the device."""

    dtype: str = "auto"

    def open(self) -> Task:
        on_cpu = jax.default_backend() == "cpu"
        side, times = (2048, 2) if on_cpu else (8192, 10)
        dtype = jnp.dtype({"auto": "float32" if on_cpu else "bfloat16"}.get(self.dtype, self.dtype))
        matrix = jnp.ones((side, side), dtype) / side
        product = jax.jit(jnp.matmul)

        def run() -> None:  # several products, so that the overhead of Python's calls is negligible
            jax.block_until_ready([product(matrix, matrix) for _ in range(times)])

        return Task(run, _facts(dtype) | {"flop": 2.0 * side**3 * times}, peak_bytes)


def random_episode(config: ConfigDict, batch_size: int) -> Episode:
    """Episodes of noise; a quarter of each support is foreground, as is typical of masks."""
    size, shots = config.data.image_size, config.shots
    query, supports = jax.random.split(jax.random.key(0), 2)
    quarter = jnp.zeros((size, size), jnp.int32).at[: size // 2, : size // 2].set(1)
    return Episode(
        query_image=jax.random.normal(query, (batch_size, size, size, 3)),
        support_images=jax.random.normal(supports, (batch_size, shots, size, size, 3)),
        support_labels=jnp.broadcast_to(quarter, (batch_size, shots, size, size)),
        query_label=jnp.broadcast_to(quarter, (batch_size, size, size)),
    )


def _jitted(task: str, model: Any, config: ConfigDict) -> Any:
    if task == "step":
        optimizer, encoder = create_optimizer(sgd(config, 1000)), ImageEncoder(config.data.image_size)
        return jax.jit(update_fn(model, encoder, optimizer, objective(config)), donate_argnums=0)
    if task == "query":
        return jax.jit(lambda variables, *taken: model.apply(variables, *taken, method="segment").logits)
    return jax.jit(lambda variables, episode: model.apply(variables, episode).logits)


def _facts(dtype: Any) -> dict[str, Any]:
    device = jax.devices()[0]
    in_tf32 = device.platform == "gpu" and dtype == jnp.float32
    return {"precision": "TF32" if in_tf32 else dtype.name, "device": device.device_kind}


def peak_bytes() -> int | None:
    """Peak memory of jax's device, bytes; on a CPU the peak resident memory of this process."""
    stats = jax.devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] if stats else resident_peak()


def resident_peak() -> int | None:
    """Peak resident memory of this process, bytes; None on a system without /proc."""
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.is_file() else {}
    return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None


def reset_resident_peak() -> None:
    """Resets ``resident_peak`` to the current resident memory, on a system with /proc."""
    with suppress(OSError):  # some containers forbid it
        Path("/proc/self/clear_refs").write_text("5")
