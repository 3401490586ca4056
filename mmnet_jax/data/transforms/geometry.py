"""Resampling by OpenCV's conventions: half-pixel centres, edges repeated, no antialiasing.

(The network's own resizes are align-corners; those are in ``ops``.) Sizes and factors may be traced: what is static is
how many pixels are computed, so these functions say where along an axis each output pixel looks.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt8

from mmnet_jax.episode import IMAGENET_MEAN, IMAGENET_STD


def normalise(image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """RGB in [0, 255] -> zero mean and unit deviation over ImageNet."""
    shape = (1,) * (image.ndim - 1) + (3,)
    mean, std = (255 * jnp.array(values, jnp.float32).reshape(shape) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def half_pixel(out: Int[Array, " n"], scale: Float[Array, ""] | float) -> Float[Array, " n"]:
    """Where pixels ``out`` lie on an axis with ``scale`` times as many: ``(out + 0.5) scale - 0.5``."""
    return (out + 0.5) * scale - 0.5


def linear_taps(
    position: Float[Array, "*n"], size: Int[Array, ""]
) -> tuple[Int[Array, "*n"], Int[Array, "*n"], Float[Array, "*n"]]:
    """The two pixels of an axis of ``size`` between which a position lies, and the weight of the second.

    Positions beyond the first or last pixel's centre see that pixel alone.
    """
    position = jnp.clip(position, 0, size - 1)
    low = jnp.floor(position).astype(jnp.int32)
    return low, jnp.minimum(low + 1, size - 1), position - low


def interpolate(
    image: UInt8[Array, "m n c"],
    size: Int[Array, " 2"],
    rows: Float[Array, " h"],
    columns: Float[Array, " w"],
) -> Float[Array, "h w c"]:
    """Bilinear values of the top left ``size`` part of ``image`` at a grid of positions."""
    low, high, weight = linear_taps(rows, size[0])
    weight = weight[:, None, None]
    lines = image[low] * (1 - weight) + image[high] * weight
    low, high, weight = linear_taps(columns, size[1])
    weight = weight[None, :, None]
    return lines[:, low] * (1 - weight) + lines[:, high] * weight


def reflect(index: Int[Array, " n"], size: Int[Array, ""]) -> Int[Array, " n"]:
    """Indices up to ``size - 1`` beyond either end folded back, the edge pixel not repeated (OpenCV's reflect-101)."""
    index = jnp.abs(index)
    return jnp.clip(jnp.minimum(index, 2 * (size - 1) - index), 0, size - 1)


def rotate(
    rows: Num[Array, " h"], columns: Num[Array, " w"], size: Int[Array, " 2"], degrees: Float[Array, ""]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Where the pixels of a rotated image come from: their row and column in the image before.

    The rotation is counter-clockwise about ``(w / 2, h / 2)``, as OpenCV's ``getRotationMatrix2D`` has it.
    """
    centre = size.astype(jnp.float32) / 2
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = rows[:, None] - centre[0], columns[None, :] - centre[1]
    return centre[0] + cos * y + sin * x, centre[1] + cos * x - sin * y
