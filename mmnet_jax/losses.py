"""The training objective (eq. 13)."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mmnet_jax import ops
from mmnet_jax.config import resolve
from mmnet_jax.config.values import objective
from mmnet_jax.episode import Episode, Prediction


@dataclasses.dataclass(frozen=True)
class Objective:
    """The config's ``loss`` section: weights of the loss terms, and the inputs of MM-Net's reconstruction loss."""

    auxiliary: float
    reconstruction: float
    reconstruction_on: str
    reconstruction_softmax_on: str
    reconstruction_shots: str


class Losses(NamedTuple):
    """The terms of the objective, unweighted scalars; ``total`` is the weighted sum."""

    main: Float[Array, ""]
    auxiliary: Float[Array, ""]
    own: dict[str, Float[Array, ""]]
    """The terms of this head alone, by name."""
    total: Float[Array, ""]

    @property
    def reconstruction(self) -> Float[Array, ""]:
        """MM-Net's memory reconstruction loss; 0 with other heads."""
        return self.own.get("reconstruction", jnp.zeros((), jnp.float32))

    def by_name(self) -> dict[str, Float[Array, ""]]:
        """All terms, ``total`` last."""
        return {"main": self.main, "auxiliary": self.auxiliary, **self.own, "total": self.total}


def episode_losses(
    prediction: Prediction, episode: Episode, config: ConfigDict, num_valid: Float[Array, ""] | None = None
) -> Losses:
    """The objective: cross entropies of the final logits and of the decoder's L scales, and the terms of the head.

    All cross entropies are at image size::

        loss = alpha / L * (sum over i of seg1_i) + beta * seg2 + gamma * recon   (eq. 13)

    seg1_i is the cross entropy of scale i and seg2 the final one; alpha is ``loss.auxiliary``, gamma
    ``loss.reconstruction``, and beta 1. ``num_valid`` is as in ``segmentation_loss``.

    Raises:
      ValueError: the episode has no query label.
    """
    if episode.query_label is None:
        raise ValueError("episode.query_label is None; a loss needs the label of the query.")
    return compute_losses(prediction, episode.query_label, objective(resolve(config)), num_valid)


def compute_losses(
    prediction: Prediction, labels: Int[Array, "b s s"], objective: Objective, num_valid: Array | None = None
) -> Losses:
    """``episode_losses`` (eq. 13) from the query labels and the objective's values."""
    main = ops.segmentation_loss(prediction.logits, labels, num_valid)
    scales = [
        ops.segmentation_loss(ops.resize_bilinear(logits, labels.shape[1:3]), labels, num_valid)
        for logits in prediction.auxiliary_logits
    ]
    auxiliary = sum(scales, jnp.zeros((), jnp.float32)) / max(len(scales), 1)
    total, own = main + objective.auxiliary * auxiliary, {}
    for name, (weight, value) in prediction.own_losses(objective).items():
        total, own[name] = total + weight * value, value
    return Losses(main, auxiliary, own, total)
