"""HSNet's transform: images and labels resized to a square, whatever their aspect ratio."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8, UInt32

from mmnet_jax.data.raw import AnyArray
from mmnet_jax.data.transforms.evaluation import Fit
from mmnet_jax.data.transforms.geometry import normalise

HALF = 2**11
"""Pillow's weights have 22 bits, which are split into 11 and 11."""


def squash_image(image: UInt8[AnyArray, "m n 3"], size: Int[AnyArray, "2"], side: int) -> Float[Array, "s s 3"]:
    """The top left ``size`` part of ``image`` resized to a square, in [0, 255], exactly as by Pillow's ``BILINEAR``.

    Antialiased; along the rows first, rounded to whole numbers after each axis. (Pillow 13 and later resize some images
    along the columns first, and then differ by at most 1.)
    """
    pixels, size = jnp.asarray(image).astype(jnp.float32), jnp.asarray(size)
    for axis, product in ((1, "on,mnc->moc"), (0, "om,mnc->onc")):
        high, low = (
            jnp.einsum(product, weights.astype(jnp.float32), pixels, precision="highest").astype(jnp.int32)
            for weights in _pillow_weights(pixels.shape[axis], size[axis], side)
        )
        pixels = ((high * HALF + low + HALF * HALF // 2) // (HALF * HALF)).astype(jnp.float32)
    return pixels


def _pillow_weights(length: int, size: Int[Array, ""], side: int) -> tuple[UInt32[Array, "s n"], UInt32[Array, "s n"]]:
    """The weights of ``length`` pixels, of which those from ``size`` on are padding, in each of ``side`` pixels.

    The weights are a triangle about the output pixel's centre, with the larger of an input and an output pixel as half
    width. Pillow rounds them to 1 / ``HALF`` ** 2. The result is ``high * HALF + low`` in this unit, so that products
    with pixels, and their sums, are exact in float32.
    """
    pixels, out = jnp.arange(length)[None], jnp.arange(side)[:, None]
    distance = jnp.abs((2 * pixels + 1) * side - (2 * out + 1) * size)  # neighbours are 2 * side apart
    triangle = jnp.where(pixels < size, jnp.maximum(0, 2 * jnp.maximum(size, side) - distance), 0).astype(jnp.uint32)
    total = triangle.sum(axis=1, keepdims=True, dtype=jnp.uint32)
    high, rest = jnp.divmod(triangle * HALF, total)
    low, rest = jnp.divmod(rest * HALF, total)
    return high, low + (2 * rest >= total).astype(jnp.uint32)


def squash_label(label: UInt8[AnyArray, "m n"], size: Int[AnyArray, "2"], side: int) -> UInt8[Array, "s s"]:
    """The top left ``size`` part of ``label`` resized to a square: pixel i is taken at floor(i * size / side)."""
    rows, columns = jnp.arange(side)[None] * jnp.asarray(size)[:, None] // side
    return jnp.asarray(label)[rows][:, columns]


SQUASH = Fit(
    lambda image, size, side: normalise(squash_image(image, size, side)),
    lambda label, size, side: squash_label(label, size, side).astype(jnp.int32),
)
