"""Resampling by OpenCV's conventions: half-pixel centres, edges repeated, no antialiasing.

The network's own resizes are align-corners, see ``ops.resize``. Sizes and factors may be traced, and only the number of
output pixels is static, so these functions take the position of each output pixel along an axis.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, UInt8

from mmnet_jax.episode import IMAGENET_MEAN, IMAGENET_STD


def normalise(image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """RGB in [0, 255] -> zero mean and unit deviation over ImageNet."""
    shape = (1,) * (image.ndim - 1) + (3,)
    mean, std = (255 * jnp.array(values, jnp.float32).reshape(shape) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def half_pixel(out: Int[Array, " n"], scale: Float[Array, ""] | float) -> Float[Array, " n"]:
    """Positions of pixels ``out`` on an axis with ``scale`` times as many: ``(out + 0.5) scale - 0.5``."""
    return (out.astype(jnp.float32) + 0.5) * scale - 0.5


class Taps(NamedTuple):
    """The two pixels around each of n positions on an axis, and the weight of the second, in [0, 1)."""

    first: Int[Array, " n"]
    second: Int[Array, " n"]
    weight: Float[Array, " n"]


def linear_taps(position: Float[Array, " n"], size: Int[Array, ""]) -> Taps:
    """The taps of positions on an axis of ``size`` pixels; positions beyond an end are clipped to it."""
    position = jnp.clip(position, 0, (size - 1).astype(jnp.float32))
    floor = jnp.floor(position)
    first = floor.astype(jnp.int32)
    return Taps(first, jnp.minimum(first + 1, size - 1), position - floor)


def resized_taps(out: Int[Array, " n"], size: Int[Array, ""], resized: Int[Array, ""]) -> Taps:
    """The taps of pixels ``out`` of an axis that is resized from ``size`` to ``resized`` pixels.

    Positions are exact, as fractions ``((2 out + 1) size - resized) / (2 resized)``; in float32 they would be off by up
    to 3e-5 of a pixel.
    """
    unit = 2 * resized
    position = jnp.clip((2 * out + 1) * size - resized, 0, unit * (size - 1))
    first = position // unit
    weight = (position - first * unit).astype(jnp.float32) / unit.astype(jnp.float32)
    return Taps(first, jnp.minimum(first + 1, size - 1), weight)


def half_pixel_gather(image: UInt8[Array, "m n c"], rows: Taps, columns: Taps) -> Float[Array, "h w c"]:
    """Bilinear values of one image at a grid of taps.

    Two gathers, in time proportional to the output: for images that fill a part of their square.
    """
    weight = rows.weight[:, None, None]
    lines = image[rows.first].astype(jnp.float32) * (1 - weight) + image[rows.second].astype(jnp.float32) * weight
    weight = columns.weight[None, :, None]
    return lines[:, columns.first] * (1 - weight) + lines[:, columns.second] * weight


def half_pixel_product(
    images: UInt8[Array, "b m n c"], rows: Float[Array, "b h"], columns: Float[Array, "b w"]
) -> Float[Array, "b h w c"]:
    """Bilinear values of each image at its own grid of positions.

    Equals ``half_pixel_gather`` but for the order of the sums. Two matrix products of the batch: for windows of small
    images.
    """
    across, along = (_weights(at, size) for at, size in zip((rows, columns), images.shape[1:3], strict=True))
    lines = jnp.einsum("bhm,bmnc->bhnc", across, images.astype(jnp.float32))
    return jnp.einsum("bwn,bhnc->bhwc", along, lines)


def _weights(at: Float[Array, "b s"], size: int) -> Float[Array, "b s m"]:
    at = jnp.clip(at, 0, size - 1)
    return jnp.maximum(0, 1 - jnp.abs(at[:, :, None] - jnp.arange(size, dtype=jnp.float32)[None, None]))


def reflect(index: Int[Array, " n"], size: Int[Array, ""]) -> Int[Array, " n"]:
    """Reflects indices at the ends of an axis without repeating the edge pixel (OpenCV's reflect-101)."""
    index = jnp.abs(index)
    return jnp.clip(jnp.minimum(index, 2 * (size - 1) - index), 0, size - 1)


def rotate(
    rows: Num[Array, " h"], columns: Num[Array, " w"], size: Int[Array, " 2"], degrees: Float[Array, ""]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
    """Row and column, in the original image, of each pixel of the rotated one.

    The rotation is counter-clockwise about ``(w / 2, h / 2)``, as by OpenCV's ``getRotationMatrix2D``.
    """
    centre = size.astype(jnp.float32) / 2
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    y, x = rows.astype(jnp.float32)[:, None] - centre[0], columns.astype(jnp.float32)[None, :] - centre[1]
    return centre[0] + cos * y + sin * x, centre[1] + cos * x - sin * y
