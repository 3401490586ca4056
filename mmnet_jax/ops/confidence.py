"""The foreground confidence module (FCM), PFENet's training-free prior."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.ops.products import product
from mmnet_jax.ops.propagation import EPSILON, foreground_first, norm
from mmnet_jax.ops.streaming import block_size


def foreground_confidence(
    query: Float[Array, "b hq wq c"],
    support: Float[Array, "b k h w c"],
    support_mask: Float[Array, "b k h w"],
    product_dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b hq wq"]:
    """Maximum cosine similarity to the support foreground, scaled to [0, 1] (eq. 6, eq. 7, eq. 8).

    For each query position q and support position s, with f_s the support's features times the mask::

        cos(f_q, f_s) = f_q . f_s / (|f_q| |f_s| + 1e-7)                           (eq. 6)
        c_q = max over s of cos(f_q, f_s)                                          (eq. 7)
        C_Q = (c - min over q of c) / (max over q of c - min over q of c + 1e-7)   (eq. 8)

    Background positions contribute a 0 to the maximum. The maps C_Q of the shots are averaged, without the shots that
    have no foreground; the result is 0 if no shot has any. The features come from a frozen backbone, so the result
    carries no gradient.

    Args:
      query: high-level features of the query.
      support: high-level features of the K support images.
      support_mask: foreground on the support's grid, in [0, 1].
      product_dtype: type of the factors of products; norms and sums stay float32.
    """
    query, support, support_mask = jax.lax.stop_gradient((query, support, support_mask))
    batch, height, width, channels = query.shape
    nodes = query.reshape(batch, height * width, channels)
    shots = support.reshape(batch, support.shape[1], -1, channels)
    masks = support_mask.reshape(batch, support.shape[1], -1)
    maps = _scaled_to_unit(_highest_cosine(nodes, shots, masks, product_dtype))
    has_foreground = jnp.any(masks > 0, axis=2).astype(maps.dtype)
    total = jnp.sum(maps * has_foreground[:, None, :], axis=2)
    confidence = total / jnp.maximum(jnp.sum(has_foreground, axis=1), 1)[:, None]
    return confidence.reshape(batch, height, width)


def _highest_cosine(query: Array, support: Array, mask: Array, dtype: DTypeLike) -> Array:
    """max over s of cosine(query_q, support_s * mask_s): [B, P, C], [B, K, s, C], [B, K, s] -> [B, P, K]."""
    (batch, shots, positions), channels = mask.shape, support.shape[3]
    size = block_size(positions)
    order, blocks = foreground_first(mask)
    order = jnp.pad(order, ((0, 0), (0, 0), (0, -positions % size)), mode="edge")
    length = norm(query)[:, :, None]
    query = query.astype(dtype)

    def raise_to(i: Array, highest: Array) -> Array:
        chosen = jax.lax.dynamic_slice_in_dim(order, i * size, size, axis=2)
        weights = jnp.take_along_axis(mask, chosen, axis=2)
        features = jnp.take_along_axis(support, chosen[..., None], axis=2) * weights[..., None].astype(support.dtype)
        # the shots side by side: on a CPU, XLA's product over four axes takes up to 1.7 times as long
        features = features.reshape(batch, shots * size, channels)
        cosine = product("bpc,bsc->bps", query, features, dtype) / (length * norm(features)[:, None] + EPSILON)
        # a shot with less foreground than another streams background positions too: they contribute 0
        return jnp.maximum(highest, jnp.max(cosine.reshape(batch, -1, shots, size), axis=-1))

    lowest = jnp.where(jnp.any(mask == 0, axis=2), 0.0, -jnp.inf)
    start = jnp.broadcast_to(lowest[:, None], (*query.shape[:2], shots)).astype(jnp.float32)
    return jax.lax.fori_loop(0, blocks, raise_to, start)


def _scaled_to_unit(x: Array) -> Array:
    low, high = jnp.min(x, axis=1, keepdims=True), jnp.max(x, axis=1, keepdims=True)
    return (x - low) / (high - low + EPSILON)
