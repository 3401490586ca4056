"""What training changes from step to step, and the optimiser that changes it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int
from ml_collections import ConfigDict


@struct.dataclass
class TrainState:
    """All that a checkpoint holds; the frozen backbone is not part of it."""

    step: Int[Array, ""]
    """Steps taken so far."""
    params: Any
    optimizer: optax.OptState
    batch_stats: Any
    """Running statistics where they move in training, else empty."""


def learning_rate(config: ConfigDict, steps: int) -> optax.Schedule:
    """Polynomial decay: base * (1 - (i + 1) / steps) ** power at step i, counted from 0."""
    base, power = config.optimizer.learning_rate, config.optimizer.power

    def schedule(step: Any) -> Any:
        left = 1 - (step + 1) / steps
        return base * jnp.maximum(left, 0) ** power

    return schedule


def create_optimizer(config: ConfigDict, steps: int) -> optax.GradientTransformation:
    """SGD as PyTorch has it: weight decay joins the gradient of every tensor before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(config.optimizer.weight_decay),
        optax.sgd(learning_rate(config, steps), momentum=config.optimizer.momentum or None),
    )


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, config: ConfigDict) -> TrainState:
    """The state before the first step."""
    moving = config.model.batch_norm == "batch"
    # copies: a training step donates its state, and the caller's variables must outlive it
    copy = lambda tree: jax.tree.map(jnp.array, tree)  # noqa: E731
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=copy(variables["params"]),
        optimizer=optimizer.init(variables["params"]),
        batch_stats=copy(variables["batch_stats"]) if moving else {},
    )


def state_variables(state: TrainState, frozen: dict[str, Any]) -> dict[str, Any]:
    """The variables to apply the network with: the state's, and the frozen ones beside them.

    Args:
      state: as training left it.
      frozen: collections ``backbone`` and ``batch_stats``; moving statistics of the state come before the latter.
    """
    batch_stats = state.batch_stats or frozen["batch_stats"]
    return {"params": state.params, "backbone": frozen["backbone"], "batch_stats": batch_stats}
