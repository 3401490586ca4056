"""Sums over blocks of nodes, so that no matrix over all pairs of positions is held in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

BLOCK = 512
"""Maximum number of nodes in a block: at 473 px (3,600 positions) a block of pairs takes at most 7 MB in float32."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def sum_over_blocks(function: Callable[[Any, Any], Any], shared: Any, streamed: Any, blocks: Int[Array, ""]) -> Any:
    """``sum(function(shared, streamed[:, i]) for i in range(blocks))``, one block in memory at a time.

    The gradient recomputes each block instead of saving intermediates, so ``blocks`` may be traced (JAX has no gradient
    of a plain loop of dynamic length). Only first derivatives in reverse mode exist.

    Args:
      function: maps (shared, one block) to a pytree of arrays.
      shared: pytree of arrays that every block uses.
      streamed: pytree of arrays ``[B, number of blocks, block, ...]`` (see ``split_blocks``).
      blocks: number of leading blocks to sum.
    """

    def add(i: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, function(shared, _block(streamed, i)))

    shapes = jax.eval_shape(function, shared, jax.eval_shape(lambda: _block(streamed, 0)))
    return jax.lax.fori_loop(0, blocks, add, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))


def _forward(function: Any, shared: Any, streamed: Any, blocks: Array) -> tuple[Any, Any]:
    return sum_over_blocks(function, shared, streamed, blocks), (shared, streamed, blocks)


def _backward(function: Any, residuals: Any, cotangent: Any) -> tuple[Any, Any, None]:
    shared, streamed, blocks = residuals

    def add(i: Array, carry: Any) -> Any:
        shared_gradient, streamed_gradient = carry
        _, pull = jax.vjp(function, shared, _block(streamed, i))
        more, here = pull(cotangent)
        write = lambda whole, part: jax.lax.dynamic_update_index_in_dim(whole, part, i, axis=1)  # noqa: E731
        return jax.tree.map(jnp.add, shared_gradient, more), jax.tree.map(write, streamed_gradient, here)

    zeros = jax.tree.map(jnp.zeros_like, (shared, streamed))
    return *jax.lax.fori_loop(0, blocks, add, zeros), None


sum_over_blocks.defvjp(_forward, _backward)


def block_size(positions: int) -> int:
    """Number of nodes in a block: equal blocks, rounded up to a multiple of 8, leave little padding in the last."""
    blocks = -(-positions // BLOCK)
    return min(positions, -(-positions // (8 * blocks)) * 8)


def split_blocks(x: Array) -> Array:
    """``[B, P, ...]`` to ``[B, number of blocks, block, ...]``, padded with zeros at the end."""
    block = block_size(x.shape[1])
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % block)] + [(0, 0)] * (x.ndim - 2))
    return x.reshape(x.shape[0], -1, block, *x.shape[2:])


def _block(streamed: Any, i: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, axis=1, keepdims=False), streamed)
