"""The training transform (PFENet's), on the device and inside jit.

The result equals OpenCV's scale, rotation, blur, flip, padding and crop in this order, each with its own rounding. The
steps run backwards, since only the crop is needed: it is chosen from the labels, which are cheap, and only its part of
the image is scaled, rotated and blurred.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, UInt8

from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.geometry import (
    half_pixel,
    half_pixel_gather,
    linear_taps,
    normalise,
    reflect,
    rotate,
)
from mmnet_jax.episode import IMAGENET_MEAN, Episode
from mmnet_jax.labels import IGNORE

BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""Weights of OpenCV's ``GaussianBlur`` for size 5 and sigma 0: binomial, no Gaussian of any sigma."""
BLUR_RADIUS = len(BLUR) // 2


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Sizes, ranges and probabilities of the training transform; each is the config's field ``data.NAME``."""

    image_size: int
    """Side S, pixels."""
    scale: tuple[float, float]
    """Range of the random factor of both sides."""
    rotation: float
    """Largest rotation in either direction, degrees."""
    rotate_probability: float
    blur_probability: float
    flip_probability: float
    crop_foreground: float
    """Fraction of the foreground that a crop should keep, 0 to 1."""
    crop_redraws: int
    """Largest number of redraws of a crop that keeps less."""


@struct.dataclass
class Parameters:
    """The random parameters of one image."""

    scale: Float[Array, "*b"]
    """Factor of both sides."""
    degrees: Float[Array, "*b"]
    """Counter-clockwise rotation; 0: none."""
    blur: Bool[Array, "*b"]
    flip: Bool[Array, "*b"]
    crops: Float[Array, "*b n 2"]
    """Candidate crops in order: top left corner, as a fraction of the range of possible rows and columns, in [0, 1)."""


def draw_parameters(keys: Key[Array, "6"], options: Augmentation) -> Parameters:
    """Draws one image's parameters, each with its own key."""
    # One vmapped draw instead of five, since the generator takes most of the compilation.
    scale, rotates, degrees, blur, flip = jax.vmap(lambda key: jax.random.uniform(key, dtype=jnp.float32))(keys[:5])
    smallest, largest = options.scale
    return Parameters(
        scale=smallest + (largest - smallest) * scale,
        degrees=jnp.where(rotates < options.rotate_probability, options.rotation * (2 * degrees - 1), 0.0),
        blur=blur < options.blur_probability,
        flip=flip < options.flip_probability,
        crops=jax.random.uniform(keys[5], (1 + options.crop_redraws, 2), jnp.float32),
    )


def augment(key: PRNGKeyArray, raw: RawEpisodes, options: Augmentation) -> Episode:
    """Raw episodes -> episodes for training; the draws for image n of episode b depend only on the key, b and n."""

    def one(keys: Any, image: Any, label: Any, size: Any) -> tuple[Array, Array]:
        return transform(image, label, size, draw_parameters(keys, options), options)

    keys = jax.random.split(key, (*raw.sizes.shape[:2], 6))
    image, label = jax.vmap(jax.vmap(one))(keys, raw.images, raw.labels, raw.sizes)
    return Episode(image[:, 0], image[:, 1:], label[:, 1:], label[:, 0])


def transform(
    image: UInt8[Array, "m m 3"],
    label: UInt8[Array, "m m"],
    size: Int[Array, "2"],
    parameters: Parameters,
    options: Augmentation,
) -> tuple[Float[Array, "s s 3"], Int[Array, "s s"]]:
    """One image and its label, in the top left ``size`` part of their squares, transformed by the given parameters.

    The result is normalised; outside the image it has the mean colour, and the label 255.
    """
    scaled = jnp.round(size.astype(jnp.float32) * parameters.scale).astype(jnp.int32)
    look_up = functools.partial(_label_at, label, size, scaled, parameters)
    canvas = math.ceil(image.shape[0] * options.scale[1])
    foreground = look_up(jnp.arange(canvas), jnp.arange(canvas)) == 1
    corner = choose_crop(foreground, scaled, parameters, options.image_size, options.crop_foreground)

    rows, columns = (corner[axis] + jnp.arange(options.image_size) for axis in range(2))
    out_label = look_up(rows, _unflip(columns, scaled[1], parameters.flip))
    out_image = _crop_image(image, size, scaled, parameters, corner, options)
    return normalise(out_image), out_label


def choose_crop(
    foreground: Bool[Array, "h w"],
    size: Int[Array, "2"],
    parameters: Parameters,
    side: int | Int[Array, ""],
    fraction: float | Float[Array, ""],
) -> Int[Array, "2"]:
    """Top left corner, in the flipped image, of the first candidate crop with ``fraction`` of the foreground.

    If no candidate has as much, the last one is taken. ``foreground`` is of the scaled and rotated image before the
    flip, in the top left ``size`` part of its canvas. An image smaller than ``side`` is padded on both sides, with the
    odd pixel right and below; a corner in the padding is negative.
    """
    padded = jnp.maximum(size, side)
    top_left = (padded - size) // 2
    choices = (padded - side + 1)[None]
    corners = (parameters.crops * choices.astype(jnp.float32)).astype(jnp.int32)
    corners = jnp.minimum(corners, choices - 1) - top_left[None]

    rows, columns = (jnp.arange(n) for n in foreground.shape)
    columns = _unflip(columns, size[1], parameters.flip)
    in_rows, in_columns = (
        _inside(at[None] - corners[:, axis, None], side).astype(jnp.float32) for axis, at in enumerate((rows, columns))
    )
    # Exact on a GPU too: factors are 0 and 1, and sums stay below 2^24.
    kept = jnp.sum((in_rows @ foreground.astype(jnp.float32)) * in_columns, axis=1)
    enough = (kept >= fraction * jnp.sum(foreground).astype(jnp.float32)).at[-1].set(True)
    return corners[jnp.argmax(enough)]


def _label_at(
    label: Array, size: Array, scaled: Array, parameters: Parameters, rows: Array, columns: Array
) -> Int[Array, "h w"]:
    """Labels of the scaled and rotated image at a grid of its pixels; 255 outside."""
    y, x = rotate(rows, columns, scaled, parameters.degrees)
    y, x = (jnp.floor(at + 0.5).astype(jnp.int32) for at in (y, x))
    inside = _inside(rows[:, None], scaled[0]) & _inside(columns[None], scaled[1])
    inside &= _inside(y, scaled[0]) & _inside(x, scaled[1])
    y, x = (
        jnp.clip(jnp.floor(at.astype(jnp.float32) / parameters.scale).astype(jnp.int32), 0, n - 1)
        for at, n in zip((y, x), size, strict=True)
    )
    return jnp.where(inside, label[y, x].astype(jnp.int32), IGNORE)


def _crop_image(
    image: Array, size: Array, scaled: Array, parameters: Parameters, corner: Array, options: Augmentation
) -> Float[Array, "s s 3"]:
    """The crop of the image, in [0, 255]."""
    side, reach = options.image_size, options.image_size + 2 * BLUR_RADIUS
    fill = 255 * jnp.array(IMAGENET_MEAN, jnp.float32)[None, None]
    # The blur reads beyond the crop and, mirrored, beyond the image.
    rows, columns = (corner[axis] - BLUR_RADIUS + jnp.arange(reach) for axis in range(2))
    seen = _unflip(reflect(columns, scaled[1]), scaled[1], parameters.flip)
    y, x = rotate(reflect(rows, scaled[0]), seen, scaled, parameters.degrees)

    canvas = math.ceil(image.shape[0] * options.scale[1])
    angle = math.radians(min(options.rotation, 45.0))
    patch_side = min(canvas, math.ceil((reach - 1) * (math.cos(angle) + math.sin(angle))) + 3)
    origin = [jnp.clip(jnp.floor(at.min()).astype(jnp.int32), 0, canvas - patch_side) for at in (y, x)]
    positions = [half_pixel(first + jnp.arange(patch_side), 1 / parameters.scale) for first in origin]
    patch = half_pixel_gather(image, *map(linear_taps, positions, size))

    turned = _bilinear_or_fill(patch, y, x, origin, scaled, fill)
    blurred = _blur(turned, parameters.blur)
    inside = _inside(corner[0] + jnp.arange(side), scaled[0])[:, None]
    inside &= _inside(corner[1] + jnp.arange(side), scaled[1])[None]
    return jnp.where(inside[..., None], blurred, fill)


def _bilinear_or_fill(
    patch: Array, y: Array, x: Array, origin: Sequence[Array], size: Array, fill: Array
) -> Float[Array, "h w 3"]:
    """Bilinear values of an image, ``fill`` outside, of which ``patch`` is the part at ``origin``."""
    flat = patch.reshape(-1, patch.shape[-1])
    low_y, low_x = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    total: Any = 0.0
    for down in (0, 1):
        for right in (0, 1):
            row, column = low_y + down, low_x + right
            inside = _inside(row, size[0]) & _inside(column, size[1])
            at = (row - origin[0]) * patch.shape[1] + column - origin[1]
            value = jnp.where(inside[..., None], flat[jnp.clip(at, 0, len(flat) - 1)], fill)
            weight = (1 - jnp.abs(y - row.astype(jnp.float32))) * (1 - jnp.abs(x - column.astype(jnp.float32)))
            total += weight[..., None] * value
    return total


def _blur(image: Float[Array, "h w 3"], blur: Array) -> Float[Array, "_ _ 3"]:
    """The 5 x 5 blur, or none; the result is 4 pixels smaller in each direction."""
    kernel = [jnp.where(blur, weight, float(i == BLUR_RADIUS)) for i, weight in enumerate(BLUR)]
    for axis in (0, 1):
        length = image.shape[axis] - 2 * BLUR_RADIUS
        parts = [k * jax.lax.slice_in_dim(image, i, i + length, axis=axis) for i, k in enumerate(kernel)]
        image = functools.reduce(jnp.add, parts)
    return image


def _unflip(columns: Array, width: Array, flip: Array) -> Array:
    return jnp.where(flip, width - 1 - columns, columns)


def _inside(index: Array, size: Array | int) -> Array:
    return (index >= 0) & (index < size)
