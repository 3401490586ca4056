"""What an episode of a configuration costs, in floating-point operations as XLA counts them, without compiling."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mmnet_jax.config import from_dict, resolve
from mmnet_jax.episode import Episode
from mmnet_jax.models.backbones import variable_shapes
from mmnet_jax.models.registry import build_model, init_head

BACKWARD = 2
"""A gradient costs about twice what the value does."""


class Cost(NamedTuple):
    """Floating-point operations of one episode; loops are counted as if run once, so it is somewhat more."""

    training: float
    evaluation: float


def episode_cost(config: ConfigDict) -> Cost:
    """Of the network's part, data aside.

    Args:
      config: resolved.
    """
    frozen, trained = _parts(_frozen_fields(_fields(config)))
    backbone = 0.0 if config.training.cache_features else frozen
    return Cost(training=backbone + (1 + BACKWARD) * trained, evaluation=backbone + trained)


def image_cost(config: ConfigDict) -> float:
    """Of one image through the backbone."""
    frozen, _ = _parts(_frozen_fields(_fields(config)))
    return frozen / (1 + config.shots)


def _fields(config: ConfigDict) -> dict[str, Any]:
    fields = {name: config[name].to_dict() for name in ("model", "quality", "loss", "data")}
    return fields | {"reading": config.reading, "shots": config.shots}


def _frozen_fields(fields: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The fields that the cost depends on, fit to be the key of a cache."""
    flat = flax.traverse_util.flatten_dict(fields, sep=".")
    wanted = {name: value for name, value in flat.items() if not name.startswith("data.") or name == "data.image_size"}
    return tuple((name, value) for name, value in sorted(wanted.items()) if name != "model.weights")


@cache
def _parts(fields: tuple[tuple[str, Any], ...]) -> tuple[float, float]:
    """The backbone's part and the head's, forward."""
    config = resolve(from_dict(flax.traverse_util.unflatten_dict(dict(fields), sep=".")))
    model = build_model(config).clone(one_by_one=False)  # a loop over images would be counted as one image
    size, shots = config.data.image_size, config.shots
    shapes = {path: jax.ShapeDtypeStruct(s, jnp.float32) for path, s in variable_shapes(config.model.backbone).items()}
    nested = flax.traverse_util.unflatten_dict(shapes, sep="/")
    variables: dict[str, Any] = {"batch_stats": {}} | {name: {"backbone": tree} for name, tree in nested.items()}
    variables["params"] = jax.eval_shape(lambda: init_head(model, 0))
    sides = {"query_image": (1, size, size, 3), "support_images": (1, shots, size, size, 3)}
    images: dict[str, Any] = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in sides.items()}
    labels: Any = jax.ShapeDtypeStruct((1, shots, size, size), jnp.int32)
    episode = Episode(**images, support_labels=labels)

    def extract(variables: Any, episode: Episode) -> Any:
        return model.apply(variables, episode, method="extract")

    def decode(variables: Any, features: Any) -> Any:
        prediction: Any = model.apply(variables, features, (size, size), method="decode")
        return prediction.logits

    features = jax.eval_shape(extract, variables, episode)
    return _operations(extract, variables, episode), _operations(decode, variables, features)


def _operations(function: Any, *shapes: Any) -> float:
    analysis = jax.jit(function).lower(*shapes).cost_analysis()
    return float((analysis or {}).get("flops", 0.0))
