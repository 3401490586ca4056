"""The meta-class memory module (MMM): activation maps of learnt embeddings, and their reconstruction loss."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.ops.products import product
from mmnet_jax.ops.streaming import split_blocks, sum_over_blocks


def memory_logits(
    features: Float[Array, "*b h w d"], memory: Float[Array, "n d"], product_dtype: DTypeLike = jnp.float32
) -> Float[Array, "*b h w n"]:
    """F . M^n at every position, before the sigmoid (eq. 1).

    Args:
      features: F, projected mid-level features.
      memory: M, one embedding a row.
      product_dtype: type that the products are taken in; sums are float32.
    """
    logits = product("pd,nd->pn", features.reshape(-1, features.shape[-1]), memory, product_dtype)
    return logits.reshape(*features.shape[:-1], -1)


def memory_activations(features: Float[Array, "*b h w d"], memory: Float[Array, "n d"]) -> Float[Array, "*b h w n"]:
    """Act = sigmoid(F . M^n), the meta-class activation maps in (0, 1) (eq. 1)."""
    return jax.nn.sigmoid(memory_logits(features, memory))


def reconstruction_loss(
    logits: Float[Array, "b h w n"], probabilities: Float[Array, "b h w n"], product_dtype: DTypeLike = jnp.float32
) -> Float[Array, " b"]:
    """Contrastive loss: F at each position must match its own reconstruction best (eq. 10, eq. 11, eq. 12).

    With F_hat_p = sum_n probabilities_p^n M^n (eq. 11) and C_f = F_hat^T F (eq. 12), position r's own features should
    agree best with the reconstruction at r: the mean over r of the cross entropy of ``softmax over p of F_hat_p . F_r``
    with target p = r. Since F_hat_p . F_r = sum_n probabilities_p^n (M^n . F_r), eq. 1's products are all that is
    needed, and blocks of r are streamed, so the P x P matrix never exists.

    Args:
      logits: M . F at every position, as ``memory_logits`` gives it.
      probabilities: softmax over the N embeddings of the same positions' activations or logits (eq. 10).
      product_dtype: type that the products of pairs of positions are taken in; all else is float32.

    Returns:
      One loss an image, at least 0; the log of the number of positions where all look alike.
    """
    batch, height, width, _ = logits.shape
    nodes = logits.reshape(batch, height * width, -1)
    weights = probabilities.reshape(batch, height * width, -1)
    streamed = split_blocks(nodes), split_blocks(jnp.ones(nodes.shape[:2], nodes.dtype))
    spread = sum_over_blocks(
        _log_partition(jnp.dtype(product_dtype)), weights, streamed, jnp.asarray(streamed[0].shape[1])
    )
    agreement = jnp.sum(nodes * weights, axis=(1, 2))
    return (spread - agreement) / (height * width)


@functools.cache
def _log_partition(product_dtype: np.dtype) -> Callable[[Array, tuple[Array, Array]], Array]:
    def log_partition(weights: Array, streamed: tuple[Array, Array]) -> Array:
        nodes, valid = streamed
        products = product("bpn,brn->bpr", weights, nodes, product_dtype)
        return jnp.sum(jax.nn.logsumexp(products, axis=1) * valid, axis=1)

    return log_partition
