"""Episodes as the host reads them: images decoded and padded to one size, and not transformed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from flax import struct
from jax import Array
from jaxtyping import Int32, UInt8

from mmnet_jax.episode import IGNORE

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Split
    from mmnet_jax.data.episodes import EpisodeSpec

AnyArray = Array | np.ndarray


@struct.dataclass
class RawEpisodes:
    """B episodes of K shots as stored, each image in the top left corner of an M x M square.

    Labels hold 1 where the episode's class is, 0 where it is not (another class, a novel one too, or background), and
    255 (ignore) elsewhere and outside the image.
    """

    query_image: UInt8[AnyArray, "b m m 3"]
    query_label: UInt8[AnyArray, "b m m"]
    query_size: Int32[AnyArray, "b 2"]
    """Height and width of the image inside the square."""
    support_images: UInt8[AnyArray, "b k m m 3"]
    support_labels: UInt8[AnyArray, "b k m m"]
    support_sizes: Int32[AnyArray, "b k 2"]


def class_label(indices: UInt8[np.ndarray, "*b h w"], class_id: int | np.ndarray) -> UInt8[np.ndarray, "*b h w"]:
    """The label of one class from class indices: 1 for the class, 0 for others, 255 for ignore."""
    return np.where(indices == IGNORE, np.uint8(IGNORE), (indices == class_id).astype(np.uint8))


def load_episodes(split: Split, specs: Sequence[EpisodeSpec]) -> RawEpisodes:
    """Reads the episodes' images, as NumPy arrays, each padded to M = ``split.max_side``.

    Args:
      split: where the images are.
      specs: at least one episode, all with as many supports.

    Raises:
      UserError: naming the image that cannot be decoded.
    """
    b, k, m = len(specs), len(specs[0].supports), split.max_side
    images = np.zeros((b, 1 + k, m, m, 3), np.uint8)
    labels = np.full((b, 1 + k, m, m), IGNORE, np.uint8)
    sizes = np.zeros((b, 1 + k, 2), np.int32)
    for i, spec in enumerate(specs):
        for j, position in enumerate((spec.query, *spec.supports)):
            image, mask = split.read(position)
            h, w = mask.shape
            images[i, j, :h, :w] = image
            labels[i, j, :h, :w] = class_label(mask, spec.class_id)
            sizes[i, j] = h, w
    return RawEpisodes(
        query_image=images[:, 0],
        query_label=labels[:, 0],
        query_size=sizes[:, 0],
        support_images=images[:, 1:],
        support_labels=labels[:, 1:],
        support_sizes=sizes[:, 1:],
    )


def load_labels(
    split: Split, specs: Sequence[EpisodeSpec]
) -> tuple[UInt8[np.ndarray, "b 1+k m m"], Int32[np.ndarray, "b 1+k 2"]]:
    """The labels and sizes that ``load_episodes`` gives, the query's first, without decoding an image."""
    labels = np.full((len(specs), 1 + len(specs[0].supports), split.max_side, split.max_side), IGNORE, np.uint8)
    sizes = np.zeros((*labels.shape[:2], 2), np.int32)
    for i, spec in enumerate(specs):
        for j, position in enumerate((spec.query, *spec.supports)):
            mask = split.read_mask(position)
            labels[i, j, : mask.shape[0], : mask.shape[1]] = class_label(mask, spec.class_id)
            sizes[i, j] = mask.shape
    return labels, sizes
