"""Augmentation of pretraining images, on the device."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from mmnet_jax.data.transforms.geometry import half_pixel_product, normalise

MIN_WINDOW = 0.7
"""Smallest side of a random window, as a fraction of the image's side."""
ASPECT = 1.15
"""Largest ratio of a window's sides to those of a square."""
COLOUR = 0.3
"""Largest relative change of brightness, contrast and saturation."""
CENTRE = 0.875
"""Side of the central window, as a fraction of the image's side."""

_GREY = (0.299, 0.587, 0.114)


def jitter(
    key: PRNGKeyArray, images: UInt8[Array, "b m m 3"], side: int, colour: float = COLOUR
) -> Float[Array, "b s s 3"]:
    """Random windows resized to ``side``, half of them flipped, with random colour changes; normalised.

    Images of ``side`` pixels are only flipped and recoloured. ``colour`` is the largest relative change of brightness,
    contrast and saturation.
    """
    flip_key, window_key, colour_key = jax.random.split(key, 3)
    count, size = images.shape[:2]
    flip = jax.random.bernoulli(flip_key, shape=(count,))
    if size == side:
        x = jnp.where(flip[:, None, None, None], images[:, :, ::-1], images).astype(jnp.float32)
    else:
        scale, aspect, top, left = jax.random.uniform(window_key, (4, count))
        scale = size * (MIN_WINDOW + (1 - MIN_WINDOW) * scale)
        stretch = jnp.exp(math.log(ASPECT) * (aspect - 0.5))
        height, width = (jnp.minimum(scale * by, size) for by in (stretch, 1 / stretch))
        rows = _positions(top * (size - height), height, side)
        columns = _positions(left * (size - width), width, side)
        x = half_pixel_product(images, rows, jnp.where(flip[:, None], columns[:, ::-1], columns))
    return normalise(recolour(x, 1 + colour * jax.random.uniform(colour_key, (3, count, 1, 1, 1), minval=-1.0)))


def centre(images: UInt8[Array, "b m m 3"], side: int) -> Float[Array, "b s s 3"]:
    """Central windows resized to ``side``, or whole images if they have that side; normalised."""
    count, size = images.shape[:2]
    if size == side:
        return normalise(images.astype(jnp.float32))
    length = jnp.full((count,), CENTRE * size)
    at = _positions((size - length) / 2, length, side)
    return normalise(half_pixel_product(images, at, at))


def _positions(start: Float[Array, " b"], length: Float[Array, " b"], side: int) -> Float[Array, "b s"]:
    """Image coordinates, along one axis, of the pixels of windows that are resized to ``side``."""
    return start[:, None] + (jnp.arange(side, dtype=jnp.float32)[None] + 0.5) * (length[:, None] / side) - 0.5


def recolour(x: Float[Array, "b s s 3"], factors: Float[Array, "3 b 1 1 1"]) -> Float[Array, "b s s 3"]:
    """Scales brightness, contrast about the image's mean grey, and saturation about each pixel's grey; in [0, 255]."""
    brightness, contrast, saturation = factors
    weights = jnp.array(_GREY)[None, None, None]
    x = jnp.clip(x * brightness, 0, 255)
    mean = jnp.mean(jnp.sum(x * weights, axis=-1, keepdims=True), axis=(1, 2), keepdims=True)
    x = jnp.clip(mean + contrast * (x - mean), 0, 255)
    grey = jnp.sum(x * weights, axis=-1, keepdims=True)
    return jnp.clip(grey + saturation * (x - grey), 0, 255)
