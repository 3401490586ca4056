"""One step of pretraining: a classifier's loss, its optimiser, and the jitted update."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from mmnet_jax.devices import shardings
from mmnet_jax.pretraining.classifier import Classifier
from mmnet_jax.pretraining.jitter import centre, jitter
from mmnet_jax.training.state import TrainState

TRAINED = ("params", "backbone")  # the variable collections with a gradient; the running statistics move too


class Scores(NamedTuple):
    """Loss and accuracy of one batch."""

    loss: Float[Array, ""]
    correct: Float[Array, ""]  # top-1 accuracy, a fraction


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """The config's fields ``pretraining.NAME`` that a step uses."""

    image_size: int
    steps: int
    learning_rate: float
    warmup: float
    momentum: float
    weight_decay: float
    label_smoothing: float


Step = Callable[[TrainState, Array, Array, Array], tuple[TrainState, Scores]]


def learning_rate(settings: Pretraining) -> optax.Schedule:
    """Linear warm-up over W steps, then a cosine decay to 0, at step i, counted from 0.

    base * (i + 1) / W before step W, base * (1 + cos(pi * (i - W) / (steps - W))) / 2 from there on.
    """
    base, steps = settings.learning_rate, settings.steps
    rising = math.ceil(settings.warmup * steps)

    def schedule(step: Any) -> Any:
        fraction = (step - rising) / max(steps - rising, 1)
        falling = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(fraction, 0, 1)))
        return base * jnp.where(step < rising, (step + 1) / max(rising, 1), falling)

    return schedule


def create_optimizer(settings: Pretraining) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; weight decay is added to the gradients of the kernels only."""

    def kernels(tree: Any) -> Any:
        return flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", tree)

    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay, mask=kernels),
        optax.sgd(learning_rate(settings), momentum=settings.momentum or None, nesterov=True),
    )


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step, from the variables of a classifier."""
    trained = {collection: variables[collection] for collection in TRAINED}
    return TrainState(jnp.zeros((), jnp.int32), trained, optimizer.init(trained), variables["batch_stats"])


def state_variables(state: TrainState) -> dict[str, Any]:
    """The variables of the classifier."""
    return {**state.params, "batch_stats": state.batch_stats}


def smoothed_cross_entropy(logits: Float[Array, "b c"], labels: Int[Array, " b"], smoothing: float) -> Float[Array, ""]:
    """Mean cross entropy with targets of 1 - smoothing on the label, and smoothing spread evenly over all classes."""
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    return jnp.mean(optax.softmax_cross_entropy(logits, targets))


@functools.lru_cache(maxsize=8)
def classifier_step(classifier: Classifier, settings: Pretraining, mesh: Mesh) -> Step:
    """The compiled update ``(state, images [b, m, m, 3], labels [b], key) -> (state, scores)``.

    The state is replicated and donated; the batch is split over the mesh, and its statistics are those of the whole
    batch. ``key`` is the run's; each step folds its number into it. Equal arguments share the compiled function.
    """
    optimizer = create_optimizer(settings)

    def loss_fn(trained: Any, batch_stats: Any, x: Array, labels: Array) -> tuple[Array, tuple[Scores, Any]]:
        variables = {**trained, "batch_stats": batch_stats}
        logits, moved = classifier.apply(variables, x, batch_statistics=True, mutable=["batch_stats"])
        loss = smoothed_cross_entropy(logits, labels, settings.label_smoothing)
        correct = jnp.mean((jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32))
        return loss, (Scores(loss, correct), moved["batch_stats"])

    def step(state: TrainState, images: Array, labels: Array, key: Array) -> tuple[TrainState, Scores]:
        with jax.named_scope("jitter"):
            x = jitter(jax.random.fold_in(key, state.step), images, settings.image_size)
        gradients, (scores, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params, state.batch_stats, x, labels)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        trained = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, trained, optimizer_state, batch_stats), scores

    everywhere, split = shardings(mesh)
    inputs = everywhere, split, split, everywhere
    return jax.jit(step, in_shardings=inputs, out_shardings=everywhere, donate_argnums=0)


def count_correct(classifier: Classifier, side: int, mesh: Mesh) -> Callable[[Any, Array, Array], Int[Array, ""]]:
    """The compiled function ``(variables, images, labels) -> number of correct images``, with running statistics."""

    def count(variables: dict[str, Any], images: Array, labels: Array) -> Array:
        logits: Any = classifier.apply(variables, centre(images, side))
        return jnp.sum(jnp.argmax(logits, axis=-1) == labels)

    everywhere, split = shardings(mesh)
    return jax.jit(count, in_shardings=(everywhere, split, split), out_shardings=everywhere)
