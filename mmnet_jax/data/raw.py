"""Raw episodes: images and labels decoded on the host and padded to one size, before any transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Int32, UInt8

from mmnet_jax.labels import IGNORE

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Split
    from mmnet_jax.data.episodes import EpisodeSpec

AnyArray = Array | np.ndarray


@struct.dataclass
class RawEpisodes:
    """B episodes of K shots as stored, each image in the top left corner of an M x M square; the query comes first.

    Labels hold 1 for the episode's class, 0 for other classes (novel ones too) and background, and 255 (ignore)
    elsewhere and outside the image.
    """

    images: UInt8[AnyArray, "b n m m 3"]
    labels: UInt8[AnyArray, "b n m m"]
    sizes: Int32[AnyArray, "b n 2"]
    """Height and width of each image."""


def padded(array: UInt8[np.ndarray, "h w *c"], side: int, fill: int) -> UInt8[np.ndarray, "m m *c"]:
    """An image or a mask in the top left corner of a square of this side, ``fill`` elsewhere."""
    square = np.full((side, side, *array.shape[2:]), fill, np.uint8)
    square[: array.shape[0], : array.shape[1]] = array
    return square


def load_episodes(split: Split, specs: Sequence[EpisodeSpec]) -> RawEpisodes:
    """Reads episodes, at least one and all with K supports, as NumPy arrays padded to M = ``split.max_side``."""
    images = np.zeros((len(specs), 1 + len(specs[0].supports), split.max_side, split.max_side, 3), np.uint8)
    return RawEpisodes(images, *load_labels(split, specs, images))


def load_labels(
    split: Split, specs: Sequence[EpisodeSpec], images: UInt8[np.ndarray, "b n m m 3"] | None = None
) -> tuple[UInt8[np.ndarray, "b n m m"], Int32[np.ndarray, "b n 2"]]:
    """The labels and sizes of ``load_episodes``; images are decoded, into ``images``, only if it is given."""
    labels = np.full((len(specs), 1 + len(specs[0].supports), split.max_side, split.max_side), IGNORE, np.uint8)
    sizes = np.zeros((*labels.shape[:2], 2), np.int32)
    for i, spec in enumerate(specs):
        for j, position in enumerate(spec.images):
            if images is None:
                label = split.read_label(position, spec.class_id)
            else:
                image, label = split.read(position, spec.class_id)
                images[i, j, : len(label), : label.shape[1]] = image
            labels[i, j, : len(label), : label.shape[1]] = label
            sizes[i, j] = label.shape
    return labels, sizes
