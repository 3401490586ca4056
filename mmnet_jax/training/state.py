"""The state that training updates, and its optimiser."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int


@struct.dataclass
class TrainState:
    """The content of a checkpoint; the frozen backbone is not part of it."""

    step: Int[Array, ""]  # steps taken so far
    params: Any
    optimizer: optax.OptState
    batch_stats: Any  # running statistics where they move in training, else empty


@dataclasses.dataclass(frozen=True)
class SGD:
    """The config's ``optimizer`` section, and the number of steps over which the learning rate decays."""

    learning_rate: float
    power: float
    momentum: float
    weight_decay: float
    steps: int


def learning_rate(sgd: SGD) -> optax.Schedule:
    """Polynomial decay: base * (1 - (i + 1) / steps) ** power at step i, counted from 0."""

    def schedule(step: Any) -> Any:
        left = 1 - (step + 1) / sgd.steps
        return sgd.learning_rate * jnp.maximum(left, 0) ** sgd.power

    return schedule


def create_optimizer(sgd: SGD) -> optax.GradientTransformation:
    """SGD as in PyTorch: weight decay is added to the gradient of every tensor before the momentum."""
    return optax.chain(
        optax.add_decayed_weights(sgd.weight_decay), optax.sgd(learning_rate(sgd), momentum=sgd.momentum or None)
    )


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, moving: bool) -> TrainState:
    """The state before the first step."""
    # copies: a training step donates its state, and the caller's variables must outlive it
    params, batch_stats = jax.tree.map(jnp.array, (variables["params"], variables["batch_stats"]))
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), batch_stats if moving else {})


def state_variables(state: TrainState, frozen: dict[str, Any]) -> dict[str, Any]:
    """The network's variables: the state's parameters, and the frozen backbone."""
    batch_stats = state.batch_stats or frozen["batch_stats"]
    return {"params": state.params, "backbone": frozen["backbone"], "batch_stats": batch_stats}
