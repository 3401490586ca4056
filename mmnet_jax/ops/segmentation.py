"""The cross entropy of few-shot segmentation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmnet_jax.labels import IGNORE


def segmentation_loss(
    logits: Float[Array, "b h w 2"], labels: Int[Array, "b h w"], num_valid: Float[Array, ""] | None = None
) -> Float[Array, ""]:
    """Cross entropy, mean over all valid pixels of the batch together; 0 where there are none.

    Args:
      logits: background and foreground.
      labels: 0, 1, or 255 (ignore).
      num_valid: divisor of the sum, for a batch that is a part of a larger one; by default its own valid pixels.
    """
    valid = labels != IGNORE
    chosen = jnp.where(labels == 1, logits[..., 1], logits[..., 0])
    entropy = jax.nn.logsumexp(logits, axis=-1) - chosen
    if num_valid is None:
        num_valid = jnp.sum(valid).astype(logits.dtype)
    return jnp.sum(jnp.where(valid, entropy, 0)) / jnp.maximum(num_valid, 1)
