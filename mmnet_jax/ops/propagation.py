"""The activation propagation module (APM) and the quality measurement module (QMM)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from mmnet_jax.ops.products import product
from mmnet_jax.ops.streaming import block_size, split_blocks, sum_over_blocks

EPSILON = 1e-7


class Propagation(NamedTuple):
    """Values and quality that each query position receives from one support image."""

    values: Float[Array, "b h w v"]
    """v_q, the support's values weighted by similarity (eq. 4); zero where the support has no foreground."""
    quality: Float[Array, "b h w"]
    """p_q, the summed sigmoid of the similarities (eq. 9)."""


def propagate(
    query_nodes: Float[Array, "b hq wq n"],
    support_nodes: Float[Array, "b h w n"],
    support_values: Float[Array, "b h w v"],
    support_mask: Float[Array, "b h w"],
    product_dtype: DTypeLike = jnp.float32,
) -> Propagation:
    """Propagates the support's foreground values to the query (APM, eq. 2, eq. 3, eq. 4) with a quality (QMM, eq. 9).

    For each query position q and support position s, with node vectors n and mask m::

        e_qs = m_s n_q . n_s / (|n_q| |n_s| + 1e-7)          (eq. 2)
        w_qs = exp(e_qs) / sum over k of exp(e_qk)           (eq. 3)
        v_q = sum over s of w_qs h_s                         (eq. 4)
        p_q = sum over s of sigmoid(e_qs)                    (eq. 9)

    Pairs with e = 0 are left out of the sums. Since e lies in [-1, 1], the softmax needs no running maximum. Blocks of
    foreground positions are streamed; blocks of background positions are skipped.

    Args:
      query_nodes: the query's node vectors.
      support_nodes: the support's node vectors.
      support_values: h_s, the values to propagate.
      support_mask: m_s in [0, 1], the foreground on the support's grid.
      product_dtype: type of the factors of products; norms, softmax and sums are float32.
    """
    batch, height, width, _ = query_nodes.shape
    flat = lambda x: x.reshape(batch, -1, *x.shape[3:])  # noqa: E731
    mask, nodes, queries = flat(support_mask), flat(support_nodes), flat(query_nodes)
    order, blocks = foreground_first(mask)
    streamed = tuple(
        split_blocks(jnp.take_along_axis(x, order.reshape(order.shape + (1,) * (x.ndim - 2)), axis=1))
        for x in (nodes, norm(nodes), flat(support_values), mask)
    )
    shared = queries, norm(queries)
    weighted, total, quality = sum_over_blocks(partial(_attend, product_dtype), shared, streamed, blocks)
    values = weighted / jnp.where(total > 0, total, 1)[..., None]
    return Propagation(values.reshape(batch, height, width, -1), quality.reshape(batch, height, width))


def fuse_shots(
    maps: Float[Array, "b k h w n"],
    quality: Float[Array, "b k h w"],
    has_foreground: Shaped[Array, "b k"],
) -> tuple[Float[Array, "b h w n"], Float[Array, "b k h w"]]:
    """The average of K fused maps, weighted at each position by the softmax of the shots' qualities (eq. 9)::

        Act'_q = sum over k of h'_q^k exp(p_q^k) / sum over j of exp(p_q^j)

    Args:
      maps: h'_q of each shot (eq. 5).
      quality: p_q of each shot.
      has_foreground: true (or not 0) if the shot's mask has any foreground on the grid; other shots get weight 0,
        unless no shot has any.

    Returns:
      The fused maps, and the weights, which sum to 1 over the shots.
    """
    has_foreground = has_foreground.astype(bool)
    counts = has_foreground | ~jnp.any(has_foreground, axis=1, keepdims=True)
    weights = jax.nn.softmax(jnp.where(counts[:, :, None, None], quality, -jnp.inf), axis=1)
    return jnp.sum(maps * weights[..., None], axis=1), weights


def foreground_first(mask: Float[Array, "*b p"]) -> tuple[Array, Array]:
    """The order that puts foreground positions first, and the number of blocks that hold them in every image."""
    order = jnp.argsort(mask == 0, axis=-1, stable=True)
    count = jnp.max(jnp.sum(mask != 0, axis=-1))
    size = block_size(mask.shape[-1])
    return order, (count + size - 1) // size


def norm(x: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Euclidean norm over the last axis, in float32, with gradient 0 at 0."""
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), axis=-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _attend(
    product_dtype: DTypeLike, shared: tuple[Array, ...], streamed: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """Numerator and denominator of eq. 4, and eq. 9, for one block of support positions."""
    (query, query_norm), (support, support_norm, values, mask) = shared, streamed
    products = product("bpn,bsn->bps", query, support, product_dtype)
    lengths = query_norm[:, :, None] * support_norm[:, None, :]
    similarity = products / (lengths + EPSILON) * mask[:, None, :]
    weight = jnp.where(similarity != 0, jnp.exp(similarity), 0)
    weighted = product("bps,bsv->bpv", weight, values, product_dtype)
    # sigmoid(e) = exp(e) / (1 + exp(e)), which is 0 for a pair that is left out
    return weighted, jnp.sum(weight, axis=-1), jnp.sum(weight / (1 + weight), axis=-1)
