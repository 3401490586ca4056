"""The training objective (eq. 10-13)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from mmnet_jax import ops
from mmnet_jax.config import resolve
from mmnet_jax.episode import Episode, Prediction


class Losses(NamedTuple):
    """The terms of the objective, each a scalar and before its weight; ``total`` is the weighted sum."""

    main: Float[Array, ""]
    auxiliary: Float[Array, ""]
    reconstruction: Float[Array, ""]
    total: Float[Array, ""]


def episode_losses(
    prediction: Prediction, episode: Episode, config: ConfigDict, counted: Float[Array, ""] | None = None
) -> Losses:
    """Cross entropy of the final logits and of the bins' at image size, and the memory reconstruction loss.

    Args:
      prediction: what the network said of the episode, in training mode for training.
      episode: with its query label.
      config: resolved or not; its ``loss`` section and its reading are used.
      counted: as in ``segmentation_loss``.

    Raises:
      ValueError: the episode has no query label.
    """
    if episode.query_label is None:
        raise ValueError("episode.query_label is needed for a loss, but is None.")
    weights = resolve(config).loss
    size = episode.query_label.shape[1:3]
    main = ops.segmentation_loss(prediction.logits, episode.query_label, counted)
    bins = [
        ops.segmentation_loss(ops.resize_bilinear(logits, size), episode.query_label, counted)
        for logits in prediction.auxiliary_logits
    ]
    auxiliary = sum(bins, jnp.zeros(())) / len(bins)
    reconstruction = _reconstruction(prediction, weights)
    total = main + weights.auxiliary * auxiliary + weights.reconstruction * reconstruction
    return Losses(main, auxiliary, reconstruction, total)


def _reconstruction(prediction: Prediction, loss: ConfigDict) -> Float[Array, ""]:
    """Summed over the memories, and over query and support where both are asked for."""
    total = jnp.zeros(())
    if loss.reconstruction_on in ("support", "both"):
        for logits in prediction.support_memory_logits:
            shots = logits[:, :1] if loss.reconstruction_shots == "first" else logits
            images = shots.reshape(-1, *shots.shape[2:])
            on_logits = loss.reconstruction_softmax_on == "logits"
            total += _mean_reconstruction(images, images if on_logits else jax.nn.sigmoid(images))
    if loss.reconstruction_on in ("query", "both"):
        for logits in prediction.query_memory_logits:
            # both readings take the query's softmax on its activations
            total += _mean_reconstruction(logits, jax.nn.sigmoid(logits))
    return total


def _mean_reconstruction(logits: Array, scores: Array) -> Float[Array, ""]:
    return jnp.mean(ops.reconstruction_loss(logits, jax.nn.softmax(scores, axis=-1)))
