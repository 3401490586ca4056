"""Matrix products of float32 or bfloat16 factors, with float32 sums."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(spec: str, x: Array, y: Array, dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """``einsum(spec, x, y)`` of factors rounded to ``dtype``, summed in float32; gradients are computed the same way.

    Args:
      spec: einsum of two operands; each letter occurs in at least two of the operands and the result.
      x: first factor.
      y: second factor.
      dtype: float32 (full precision on every device) or bfloat16.
    """
    return jnp.einsum(spec, x.astype(dtype), y.astype(dtype), precision="highest", preferred_element_type=jnp.float32)


def _forward(spec: str, x: Array, y: Array, dtype: DTypeLike) -> tuple[Array, tuple[Array, Array]]:
    return product(spec, x, y, dtype), (x, y)


def _backward(spec: str, dtype: DTypeLike, factors: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    (x, y), (first, second, out) = factors, spec.replace("->", ",").split(",")
    x_gradient = product(f"{out},{second}->{first}", gradient, y, dtype)
    y_gradient = product(f"{first},{out}->{second}", x, gradient, dtype)
    return x_gradient.astype(x.dtype), y_gradient.astype(y.dtype)


product.defvjp(_forward, _backward)
