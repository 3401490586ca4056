"""One training step: jitted, sharded over the batch, its state donated."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array
from optax import GradientTransformation, apply_updates

from mmnet_jax.devices import shardings
from mmnet_jax.features.source import Encoder
from mmnet_jax.labels import IGNORE
from mmnet_jax.losses import Losses, Objective, compute_losses
from mmnet_jax.models.network import Features, FewShotNetwork
from mmnet_jax.training.state import SGD, TrainState, create_optimizer, state_variables

Update = Callable[[TrainState, dict[str, Any], Any, Array], tuple[TrainState, Losses]]


@functools.lru_cache(maxsize=8)
def train_step(
    model: FewShotNetwork, encoder: Encoder, sgd: SGD, objective: Objective, accumulate: int, mesh: Mesh
) -> Update:
    """The compiled update ``(state, frozen, batch of the encoder's source, key) -> (state, losses)``.

    Parameters are replicated and episodes are split over the mesh. The loss is a mean over the valid pixels of the
    whole batch, and batch statistics are those of the whole batch, on any number of devices. ``key`` is the run's; each
    step folds its number into it. The state is donated. Calls with equal arguments share the compiled function.
    """
    update = update_fn(model, encoder, create_optimizer(sgd), objective, accumulate)

    def step(state: TrainState, frozen: dict[str, Any], batch: Any, key: Array) -> tuple[TrainState, Losses]:
        transform_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        return update(state, frozen, encoder.transform(batch, transform_key), dropout_key)

    everywhere, split = shardings(mesh)
    inputs = everywhere, everywhere, split, everywhere
    return jax.jit(step, in_shardings=inputs, out_shardings=everywhere, donate_argnums=0)


def update_fn(
    model: FewShotNetwork,
    encoder: Encoder,
    optimizer: GradientTransformation,
    objective: Objective,
    accumulate: int = 1,
) -> Update:
    """The update ``(state, frozen, transformed episodes, dropout key) -> (state, losses)``, not yet jitted.

    Only the trained parameters are differentiated. A batch of ``accumulate`` parts adds up their gradients in turn.
    """

    def loss_fn(params: Any, features: Features, labels: Array, key: Array, num_valid: Array) -> tuple[Array, Losses]:
        size, rngs = labels.shape[1:], {"dropout": key}
        prediction: Any = model.apply({"params": params}, features, size, train=True, rngs=rngs, method="decode")
        losses = compute_losses(prediction, labels, objective, num_valid)
        return losses.total, losses

    def gradient_fn(
        state: TrainState, frozen: dict[str, Any], episodes: Any, key: Array, num_valid: Array
    ) -> tuple[Any, Losses, Any]:
        features, moved = encoder.extract(model, state_variables(state, frozen), episodes, train=True)
        labels = episodes.query_label
        gradients, losses = jax.grad(loss_fn, has_aux=True)(state.params, features, labels, key, num_valid)
        return gradients, losses, moved

    def update(state: TrainState, frozen: dict[str, Any], episodes: Any, key: Array) -> tuple[TrainState, Losses]:
        num_valid = jnp.sum(episodes.query_label != IGNORE).astype(jnp.float32)
        if accumulate == 1:
            gradients, losses, moved = gradient_fn(state, frozen, episodes, key, num_valid)
        else:
            moved = state.batch_stats

            def part_fn(part: tuple[Any, Array]) -> tuple[Any, Losses]:
                # a part's fraction of the whole batch's mean, times the number of parts, since parts are averaged
                return gradient_fn(state, frozen, *part, num_valid / accumulate)[:2]

            def add(total: Any, part: tuple[Any, Array]) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, total, part_fn(part)), None

            # [B, ...] to [parts, B / parts, ...], each part taken from all devices that share the batch
            split = lambda x: jnp.swapaxes(x.reshape(-1, accumulate, *x.shape[1:]), 0, 1)  # noqa: E731
            parts = jax.tree.map(split, episodes), jax.random.split(key, accumulate)
            shapes = jax.eval_shape(part_fn, jax.tree.map(lambda x: x[0], parts))
            total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, shapes), parts)
            gradients, losses = jax.tree.map(lambda x: x / accumulate, total)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, optimizer_state, moved), losses

    return update
