"""The meta-class memory module (MMM): activation maps of learnt embeddings, and their reconstruction loss."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.ops.products import product
from mmnet_jax.ops.streaming import split_blocks


def memory_logits(
    features: Float[Array, "*b h w d"], memory: Float[Array, "n d"], product_dtype: DTypeLike = jnp.float32
) -> Float[Array, "*b h w n"]:
    """F . M^n at every position, before the sigmoid (eq. 1).

    Args:
      features: F, projected mid-level features.
      memory: M, one embedding a row.
      product_dtype: type of the factors of products; sums are float32.
    """
    logits = product("pd,nd->pn", features.reshape(-1, features.shape[-1]), memory, product_dtype)
    return logits.reshape(*features.shape[:-1], -1)


def memory_activations(features: Float[Array, "*b h w d"], memory: Float[Array, "n d"]) -> Float[Array, "*b h w n"]:
    """The meta-class activation maps, in (0, 1): Act^n(x, y) = sigmoid(F(x, y) . M^n) (eq. 1)."""
    return jax.nn.sigmoid(memory_logits(features, memory))


def reconstruction_loss(
    logits: Float[Array, "b h w n"], probabilities: Float[Array, "b h w n"], product_dtype: DTypeLike = jnp.float32
) -> Float[Array, " b"]:
    """Contrastive loss: F at each position must match its own reconstruction best (eq. 10, eq. 11, eq. 12).

    At positions p and r::

        a_p^n = exp(Act_p^n) / sum over k of exp(Act_p^k)   (eq. 10)
        F_hat_p = sum over n of a_p^n M^n                   (eq. 11)
        C_pr = F_hat_p . F_r                                (eq. 12)

    The loss is the mean over r of the cross entropy of ``softmax over p of C_pr`` with target p = r. Since C_pr = sum
    over n of a_p^n (M^n . F_r), the products of eq. 1 suffice; they are streamed in blocks of r, so that no P x P
    matrix is held in memory.

    Args:
      logits: M . F at every position, from ``memory_logits``.
      probabilities: a, the softmax over the N embeddings of the same positions' activations (eq. 10) or logits.
      product_dtype: type of the factors of products over pairs of positions; all else is float32.

    Returns:
      One loss for each image, at least 0; the log of the number of positions if all positions are equal.
    """
    batch, height, width, _ = logits.shape
    nodes = logits.reshape(batch, height * width, -1)
    weights = probabilities.reshape(batch, height * width, -1)
    spread = _log_partition(weights, nodes, product_dtype)
    agreement = jnp.sum(nodes * weights, axis=(1, 2))
    return (spread - agreement) / (height * width)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _log_partition(weights: Array, nodes: Array, dtype: DTypeLike) -> Array:
    """sum over r of log(sum over p of exp(weights_p . nodes_r)): [B, P, N], [B, P, N] -> [B]."""
    return _forward(weights, nodes, dtype)[0]


def _forward(weights: Array, nodes: Array, dtype: DTypeLike) -> tuple[Array, tuple[Array, Array, Array]]:
    blocks, weights = jnp.moveaxis(split_blocks(nodes), 1, 0), weights.astype(dtype)
    log_sums = jax.lax.map(lambda block: jax.nn.logsumexp(_products(weights, block, dtype), axis=2), blocks)
    by_position = jnp.moveaxis(log_sums, 0, 1).reshape(len(nodes), -1)
    return jnp.sum(by_position[:, : nodes.shape[1]], axis=1), (weights, blocks, log_sums)


def _backward(dtype: DTypeLike, saved: tuple[Array, Array, Array], gradient: Array) -> tuple[Array, Array]:
    """The gradient is a softmax; the log-sums saved by the forward pass normalise it, so one pass suffices."""
    weights, blocks, log_sums = saved

    def add(weights_gradient: Array, block: tuple[Array, Array]) -> tuple[Array, Array]:
        nodes, log_sum = block
        softmax = jnp.exp(_products(weights, nodes, dtype) - log_sum[..., None]) * gradient[:, None, None]
        # the padding of the last block adds nothing, since its nodes are zero
        weights_gradient = weights_gradient + product("brp,brn->bpn", softmax, nodes, dtype)
        return weights_gradient, product("brp,bpn->brn", softmax, weights, dtype)

    weights_gradient, block_gradients = jax.lax.scan(add, jnp.zeros(weights.shape, jnp.float32), (blocks, log_sums))
    nodes_gradient = jnp.moveaxis(block_gradients, 0, 1).reshape(len(weights), -1, weights.shape[2])
    return weights_gradient, nodes_gradient[:, : weights.shape[1]]


def _products(weights: Array, nodes: Array, dtype: DTypeLike) -> Array:
    return product("bpn,brn->brp", weights, nodes, dtype)


_log_partition.defvjp(_forward, _backward)
