"""The masked average that makes PFENet's prototype and the "Global" row of the paper's ablation."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def masked_average(
    values: Float[Array, "*b h w v"], mask: Float[Array, "*b h w"], area: float = 0.0
) -> Float[Array, "*b v"]:
    """Sum over s of m_s h_s, divided by the sum of m_s plus ``area``; 0 where the mask is empty.

    Args:
      values: h_s.
      mask: m_s, in [0, 1].
      area: added to the mask's area, in positions (PFENet adds 0.0005).
    """
    total = jnp.einsum("...hwv,...hw->...v", values, mask, precision="highest")
    divisor = jnp.sum(mask, axis=(-2, -1)) + area
    return total / jnp.where(divisor > 0, divisor, 1)[..., None]
