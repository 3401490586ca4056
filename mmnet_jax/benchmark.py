"""How fast a configuration runs on this machine: whole episodes, queries alone, and training steps."""

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
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from mmnet_jax.training.state import create_optimizer, create_state
from mmnet_jax.training.step import update_fn

Tasks = dict[str, Callable[[], Any]]
"""By name, what is measured."""


def random_episode(config: ConfigDict, batch_size: int) -> Episode:
    """Episodes of noise, with a quarter of each support in the foreground, as masks typically have."""
    size, shots = config.data.image_size, config.shots
    query, supports = jax.random.split(jax.random.key(0), 2)
    quarter = jnp.zeros((size, size), jnp.int32).at[: size // 2, : size // 2].set(1)
    return Episode(
        query_image=jax.random.normal(query, (batch_size, size, size, 3)),
        support_images=jax.random.normal(supports, (batch_size, shots, size, size, 3)),
        support_labels=jnp.broadcast_to(quarter, (batch_size, shots, size, size)),
        query_label=jnp.broadcast_to(quarter, (batch_size, size, size)),
    )


def our_tasks(config: ConfigDict, batch_size: int) -> Tasks:
    """An episode segmented, a query segmented with the support encoded before, and a training step; random weights."""
    model = build_model(network_settings(config))
    frozen = frozen_variables(model, random_variables(config.model.backbone))
    variables = {"params": init_head(model, 0), **frozen}
    episode, key = random_episode(config, batch_size), jax.random.key(0)
    apply = jax.jit(model.apply, static_argnames="method")
    state = apply(variables, episode.support_images[0], episode.support_labels[0], method="encode_support")
    optimizer = create_optimizer(sgd(config, 1000))
    update = jax.jit(update_fn(model, ImageEncoder(config.data.image_size), optimizer, objective(config)))
    training = create_state(variables, optimizer, config.model.batch_norm == "batch")
    return {
        "episode": lambda: apply(variables, episode).logits,
        "query": lambda: apply(variables, episode.query_image, state, method="segment").logits,
        "training step": lambda: update(training, frozen, episode, key),
    }


def peer_tasks(peer: Any, config: ConfigDict, batch_size: int) -> Tasks:
    """An episode segmented and a training step, by ``peer``, the module of the PyTorch peer: a ResNet-50 or its v2."""
    import torch

    bins = tuple(config.model.bins)
    network = peer.MMNet(flavor=config.reading, deep=config.model.backbone == "resnet50_v2", bins=bins)
    network.eval()
    query, supports, *labels = (
        torch.from_numpy(jax.device_get(leaf).copy()) for leaf in jax.tree.leaves(random_episode(config, batch_size))
    )
    images, supports = query.permute(0, 3, 1, 2), supports.permute(0, 1, 4, 2, 3)
    support_labels, query_label = (label.long() for label in labels)
    trained = [p for name, p in network.named_parameters() if not name.startswith("layer")]
    sgd = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def segment() -> None:
        with torch.no_grad():
            network(images, supports, support_labels)

    def train() -> None:
        sgd.zero_grad()
        network(images, supports, support_labels, query_label)["loss"].backward()
        sgd.step()

    return {"peer's episode": segment, "peer's training step": train}


def measure(tasks: Tasks, repeats: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of each run of each task, after a first one that compiles.

    The tasks take turns, so that a slow moment of the machine hits all.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(1 + repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            jax.block_until_ready(task())
            taken = time.perf_counter() - start
            if turn:
                seconds[name].append(taken)
            else:
                say(f"{name}: first run, with compilation, {taken:.1f} s")
    return seconds


def table(seconds: dict[str, Sequence[float]]) -> str:
    """Medians with the fastest and the slowest run, in milliseconds, as Markdown."""
    rows = ((name, 1e3 * statistics.median(s), 1e3 * min(s), 1e3 * max(s)) for name, s in seconds.items())
    lines = [f"| {name} | {median:.0f} | {fastest:.0f} | {slowest:.0f} |" for name, median, fastest, slowest in rows]
    return "\n".join(["| task | median, ms | fastest | slowest |", "|---|---|---|---|", *lines])
