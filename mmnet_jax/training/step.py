"""One training step: jitted, sharded over the batch, its state donated."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array
from ml_collections import ConfigDict

from mmnet_jax.config.values import augmentation, objective
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.evaluation import test_transform
from mmnet_jax.data.transforms.training import augment
from mmnet_jax.episode import IGNORE, Episode
from mmnet_jax.errors import UserError
from mmnet_jax.features.store import StoredEpisodes
from mmnet_jax.losses import Losses, compute_losses
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.training.state import TrainState, state_variables

Step = Callable[[TrainState, dict[str, Any], Any, Array], tuple[TrainState, Losses]]


def data_mesh(batch_size: int) -> Mesh:
    """A one-axis mesh ``data`` over as many of the devices as divide the batch."""
    count = jax.device_count()
    if jax.process_count() > 1 and batch_size % count:
        raise UserError(f"training.batch_size = {batch_size} cannot be split over {count} devices.")
    if jax.process_count() == 1:
        count = max(n for n in range(1, count + 1) if batch_size % n == 0)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def train_step(model: FewShotNetwork, optimizer: optax.GradientTransformation, config: ConfigDict, mesh: Mesh) -> Step:
    """The compiled update ``(state, frozen, raw or stored episodes, key) -> (state, losses)``.

    Parameters are replicated, episodes are split over the mesh, and since the loss is written over the whole batch,
    its mean over counted pixels and any batch statistics are those of the whole batch, however many devices hold it.
    ``key`` is the run's; each step folds its own number into it. The state passed in is donated.
    """
    update = update_fn(model, optimizer, config)

    def step(
        state: TrainState, frozen: dict[str, Any], batch: RawEpisodes | StoredEpisodes, key: Array
    ) -> tuple[TrainState, Losses]:
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        if isinstance(batch, StoredEpisodes):
            return update(state, frozen, batch, dropout_key)
        if not config.data.augment:
            return update(state, frozen, test_transform(batch, config.data.image_size), dropout_key)
        with jax.named_scope("augment"):
            episode = augment(augment_key, batch, augmentation(config))
        return update(state, frozen, episode, dropout_key)

    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    return jax.jit(
        step,
        in_shardings=(everywhere, everywhere, split, everywhere),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def update_fn(
    model: FewShotNetwork, optimizer: optax.GradientTransformation, config: ConfigDict
) -> Callable[[TrainState, dict[str, Any], Episode | StoredEpisodes, Array], tuple[TrainState, Losses]]:
    """The update from finished episodes on, not yet jitted: ``(state, frozen, episode, dropout key)``.

    Of stored episodes the backbone's part is not computed; ``frozen`` is then not used.
    """
    parts, weights = config.training.accumulate, objective(config)

    def loss_fn(
        params: Any, state: TrainState, frozen: dict[str, Any], episode: Any, key: Array, num_valid: Array
    ) -> tuple[Array, tuple[Losses, Any]]:
        variables = state_variables(dataclasses.replace(state, params=params), frozen)
        mutable = ["batch_stats"] if state.batch_stats else []
        apply = functools.partial(model.apply, variables, train=True, rngs={"dropout": key}, mutable=mutable)
        if isinstance(episode, StoredEpisodes):
            size = episode.query_label.shape[1:]
            prediction, changed = apply(episode.features(), size, method="decode")
        else:
            prediction, changed = apply(episode)
        losses = compute_losses(prediction, episode.query_label, weights, num_valid)
        return losses.total, (losses, changed.get("batch_stats", {}))

    gradient_fn = jax.grad(loss_fn, has_aux=True)

    def update(
        state: TrainState, frozen: dict[str, Any], episode: Episode | StoredEpisodes, key: Array
    ) -> tuple[TrainState, Losses]:
        num_valid = jnp.sum(episode.query_label != IGNORE).astype(jnp.float32)
        if parts == 1:
            gradients, (losses, batch_stats) = gradient_fn(state.params, state, frozen, episode, key, num_valid)
        else:
            batch_stats = state.batch_stats

            def one(part: tuple[Any, Array]) -> tuple[Any, Losses]:
                # its fraction of the whole batch's mean, times the number of parts, since parts are averaged
                gradients, (losses, _) = gradient_fn(state.params, state, frozen, *part, num_valid / parts)
                return gradients, losses

            def add(total: Any, part: tuple[Any, Array]) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, one(part)), None

            split = _split(episode, parts), jax.random.split(key, parts)
            shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], split))
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            total, _ = jax.lax.scan(add, zeros, split)
            gradients, losses = jax.tree.map(lambda x: x / parts, total)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, optimizer_state, batch_stats), losses

    return update


def _split(episode: Any, parts: int) -> Any:
    """``[B, ...]`` to ``[parts, B / parts, ...]``, each part taken from all devices that share the batch."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), episode)
