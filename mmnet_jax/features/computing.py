"""The rows of a store: an image's levels and label by the test transform, and level 4 of masked level-3 features."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from mmnet_jax.data.batches import read_ahead
from mmnet_jax.data.dataset import Split
from mmnet_jax.data.transforms.evaluation import fit_image, fit_label
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.network import grid_masks, masked_high, mid_and_high

Block = tuple[np.ndarray, ...]


def images_at_once() -> int:
    """One on a CPU, whose convolutions slow down faster than the batch grows."""
    return 1 if jax.default_backend() == "cpu" else 16


def level_rows(backbone: Backbone, variables: dict[str, Any], split: Split, image_size: int) -> Iterator[Block]:
    """For each image of a split: levels 3 and 2 side by side, level 4, and its fitted label of class indices.

    Args:
      backbone: the module.
      variables: its own.
      split: where the images are.
      image_size: S.
    """
    at_once = images_at_once()
    raw = grain.MapDataset.range(-(-len(split) // at_once)).map(lambda i: _read(split, i * at_once, at_once))
    for images, masks, sizes in read_ahead(raw, 0):
        yield jax.device_get(_levels(backbone, variables, images, masks, sizes, image_size))


def masked_rows(
    backbone: Backbone,
    variables: dict[str, Any],
    mid: Float[np.ndarray, "n h w m"],
    labels: UInt8[np.ndarray, "n s s"],
    pairs: Sequence[tuple[int, int]],
) -> Iterator[Block]:
    """For each pair of an image and a class: level 4 of the level-3 features times the class's mask.

    Args:
      backbone: the module.
      variables: its own.
      mid: as ``level_rows`` gave it.
      labels: likewise.
      pairs: a class that the image does not hold gives the features of an empty mask.
    """
    at_once = images_at_once()
    for first in range(0, len(pairs), at_once):
        images, classes = np.array(pairs[first : first + at_once]).T
        foreground = labels[images] == classes[:, None, None]
        yield (jax.device_get(_high_level(backbone, variables, mid[images], foreground)),)


def row_shapes(
    backbone: Backbone, variables: dict[str, Any], image_size: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Shapes of a row of ``level_rows``."""
    shapes = jax.ShapeDtypeStruct
    square, size = (1, image_size, image_size), shapes((1, 2), jnp.int32)
    rows = jax.eval_shape(
        lambda *arrays: _levels(backbone, *arrays, image_size),
        variables,
        shapes((*square, 3), jnp.uint8),
        shapes(square, jnp.uint8),
        size,
    )
    mid, high, labels = (row.shape[1:] for row in rows)
    return mid, high, labels


def _read(split: Split, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, masks of class indices, and sizes, in the top left corners of squares."""
    read = [split.read(i) for i in range(first, min(first + count, len(split)))]
    images = np.zeros((len(read), split.max_side, split.max_side, 3), np.uint8)
    masks = np.zeros(images.shape[:3], np.uint8)
    sizes = np.array([mask.shape for _, mask in read], np.int32)
    for row, (image, mask) in enumerate(read):
        images[row, : mask.shape[0], : mask.shape[1]] = image
        masks[row, : mask.shape[0], : mask.shape[1]] = mask
    return images, masks, sizes


@functools.partial(jax.jit, static_argnames=("backbone", "image_size"))
def _levels(
    backbone: Backbone,
    variables: dict[str, Any],
    images: UInt8[Array, "n m m 3"],
    masks: UInt8[Array, "n m m"],
    sizes: Int[Array, "n 2"],
    image_size: int,
) -> tuple[Float[Array, "n h w m"], Float[Array, "n h w c"], UInt8[Array, "n s s"]]:
    fitted = jax.vmap(lambda image, size: fit_image(image, size, image_size))(images, sizes)
    labels = jax.vmap(lambda mask, size: fit_label(mask, size, image_size))(masks, sizes)
    mid, high = nn.apply(mid_and_high, backbone)(variables, fitted)
    return mid, high, labels.astype(jnp.uint8)


@functools.partial(jax.jit, static_argnames="backbone")
def _high_level(backbone: Backbone, variables: dict[str, Any], mid: Array, foreground: Array) -> Array:
    masks = grid_masks(foreground, mid.shape[1:3])
    return nn.apply(masked_high, backbone)(variables, mid, masks)
