"""Matrix products in a type of their own, with float32 sums."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(spec: str, x: Array, y: Array, dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """``einsum(spec, x, y)``: factors rounded to ``dtype``, sums in float32; so is the gradient's either way.

    Args:
      spec: two operands and the result, one letter an axis; each letter stands in at least two of the three.
      x: first factor.
      y: second factor.
      dtype: float32, which asks for full precision on every device, or bfloat16.
    """
    return jnp.einsum(spec, x.astype(dtype), y.astype(dtype), precision="highest", preferred_element_type=jnp.float32)


def _forward(spec: str, x: Array, y: Array, dtype: DTypeLike) -> tuple[Array, tuple[Array, Array]]:
    return product(spec, x, y, dtype), (x, y)


def _backward(spec: str, dtype: DTypeLike, factors: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    (x, y), (first, second, out) = factors, spec.replace("->", ",").split(",")
    of_x = product(f"{out},{second}->{first}", gradient, y, dtype)
    of_y = product(f"{first},{out}->{second}", x, gradient, dtype)
    return of_x.astype(x.dtype), of_y.astype(y.dtype)


product.defvjp(_forward, _backward)
