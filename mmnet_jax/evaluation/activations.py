"""The few of the memory's embeddings that say most about an episode, for a picture of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmnet_jax import ops
from mmnet_jax.episode import Prediction
from mmnet_jax.models.heads.mmnet import MMNetPrediction

SHOWN = 3
"""Embeddings of an episode; fewer where the memory is smaller."""


def telling_activations(
    prediction: Prediction, support_labels: Int[Array, "b k s s"]
) -> tuple[Float[Array, "b n h w"], Int[Array, "b n"]]:
    """The query's activation maps of the embeddings that the supports' foreground excites most beyond its surroundings.

    An embedding is ranked by its activation of the supports: the mean over the foreground less the mean over the
    background, all shots together. What is unknown, and the padding, counts as neither.

    Args:
      prediction: of B episodes.
      support_labels: that it was made with.

    Returns:
      The n = ``SHOWN`` maps in [0, 1], the most telling first, and the numbers of their embeddings (those of a second
      memory count on); none from a network without memory.
    """
    if not isinstance(prediction, MMNetPrediction) or not prediction.support_memory_logits:
        batch = len(prediction.logits)
        return jnp.zeros((batch, 0, 1, 1)), jnp.zeros((batch, 0), jnp.int32)
    assert prediction.activations is not None
    activations = jax.nn.sigmoid(jnp.concatenate(prediction.support_memory_logits, axis=-1))
    grid = activations.shape[2:4]

    def mean_over(where: Array) -> Float[Array, "b n"]:
        weights = ops.resize_bilinear(where.astype(jnp.float32)[..., None], grid)
        area = jnp.maximum(weights.sum(axis=(1, 2, 3)), 1e-6)
        return (activations * weights).sum(axis=(1, 2, 3)) / area

    excess = mean_over(support_labels == 1) - mean_over(support_labels == 0)
    _, embeddings = jax.lax.top_k(excess, min(SHOWN, excess.shape[-1]))
    maps = jnp.take_along_axis(prediction.activations, embeddings[:, None, None], axis=-1)
    return jnp.moveaxis(maps, -1, 1), embeddings
