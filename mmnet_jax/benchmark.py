"""How fast a configuration runs on this machine: whole episodes, queries alone, and training steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mmnet_jax.config.values import network_settings, objective, sgd
from mmnet_jax.episode import Episode
from mmnet_jax.features.source import ImageEncoder
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.registry import build_model, init_head, nest_backbone
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.training.step import update_fn


def random_episode(config: ConfigDict, batch_size: int, seed: int = 0) -> Episode:
    """Episodes of noise, with a quarter of each support in the foreground, as masks typically have."""
    size, shots = config.data.image_size, config.shots
    keys = jax.random.split(jax.random.key(seed), 2)
    quarter = jnp.zeros((size, size), jnp.int32).at[: size // 2, : size // 2].set(1)
    return Episode(
        query_image=jax.random.normal(keys[0], (batch_size, size, size, 3)),
        support_images=jax.random.normal(keys[1], (batch_size, shots, size, size, 3)),
        support_labels=jnp.broadcast_to(quarter, (batch_size, shots, size, size)),
        query_label=jnp.broadcast_to(quarter, (batch_size, size, size)),
    )


def our_tasks(config: ConfigDict, batch_size: int) -> dict[str, Callable[[], Any]]:
    """Compiled and warm: an episode segmented, a query segmented with the support encoded before, a training step.

    Args:
      config: resolved; weights are random, which costs the same.
      batch_size: episodes, or queries, at a time.
    """
    model = build_model(network_settings(config))
    frozen = nest_backbone(random_variables(config.model.backbone))
    variables = {"params": init_head(model, 0), **frozen}
    episode = random_episode(config, batch_size)
    state = jax.jit(lambda v, *a: model.apply(v, *a, method="encode_support"))(
        variables, episode.support_images[0], episode.support_labels[0]
    )
    apply = jax.jit(model.apply)
    segment = jax.jit(lambda v, *a: model.apply(v, *a, method="segment"))
    optimizer = create_optimizer(sgd(config, 1000))
    update = jax.jit(update_fn(model, ImageEncoder(config.data.image_size), optimizer, objective(config)))
    training, key = create_state(variables, optimizer, config.model.batch_norm == "batch"), jax.random.key(0)
    return {
        "episode": lambda: apply(variables, episode).logits,
        "query": lambda: segment(variables, episode.query_image, state).logits,
        "training step": lambda: update(training, frozen, episode, key),
    }


def peer_tasks(peer: Any, config: ConfigDict, batch_size: int) -> dict[str, Callable[[], Any]]:
    """The same of the PyTorch peer: an episode segmented, and a training step.

    Args:
      peer: the module that defines it.
      config: resolved; ``resnet50`` or ``resnet50_v2``.
      batch_size: episodes at a time.
    """
    import torch

    bins = tuple(config.model.bins)
    network = peer.MMNet(flavor=config.reading, deep=config.model.backbone == "resnet50_v2", bins=bins)
    network.eval()
    episode = random_episode(config, batch_size)

    def tensor(x: Any) -> Any:
        return torch.from_numpy(jax.device_get(x).copy())

    images = tensor(episode.query_image).permute(0, 3, 1, 2)
    supports = tensor(episode.support_images).permute(0, 1, 4, 2, 3)
    labels = tensor(episode.support_labels).long(), tensor(episode.query_label).long()
    trained = [p for name, p in network.named_parameters() if not name.startswith("layer")]
    sgd = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def segment() -> None:
        with torch.no_grad():
            network(images, supports, labels[0])

    def train() -> None:
        sgd.zero_grad()
        network(images, supports, labels[0], labels[1])["loss"].backward()
        sgd.step()

    return {"peer's episode": segment, "peer's training step": train}


def measure(tasks: dict[str, Callable[[], Any]], repeats: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of each run of each task, the tasks taking turns so that a slow moment of the machine hits all.

    Each is run once first, which compiles it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for name, task in tasks.items():
        start = time.perf_counter()
        jax.block_until_ready(task())
        say(f"{name}: first run, with compilation, {time.perf_counter() - start:.1f} s")
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            jax.block_until_ready(task())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def table(seconds: dict[str, Sequence[float]]) -> str:
    """Medians with the fastest and the slowest run, in milliseconds, as Markdown."""
    rows = [
        f"| {name} | {1e3 * statistics.median(s):.0f} | {1e3 * min(s):.0f} | {1e3 * max(s):.0f} |"
        for name, s in seconds.items()
    ]
    return "\n".join(["| task | median, ms | fastest | slowest |", "|---|---|---|---|", *rows])
