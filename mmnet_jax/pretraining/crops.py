"""Objects of the base classes, cut out of a segmentation dataset to pretrain a backbone on."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from scipy import ndimage

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import Split
from mmnet_jax.episode import IMAGENET_MEAN
from mmnet_jax.pretraining.labelled import LabelledBatch

MARGIN = 0.15
"""Surroundings that a crop shows on each side, as a fraction of its object's longer side."""
HELD_BYTES = 512 * 2**20
"""Up to this size a split's crops are cut once and kept in memory."""


class Crop(NamedTuple):
    """Where a crop comes from, and its label."""

    image: int
    class_id: int
    label: int


@dataclasses.dataclass(frozen=True)
class Crops:
    """The crops of a split; those that are not in memory are cut when they are taken."""

    split: Split
    crops: Sequence[Crop]
    classes: int
    side: int
    pixels: UInt8[np.ndarray, "n m m 3"] | None = None
    """All crops, in memory."""

    @property
    def held(self) -> bool:
        """Whether the crops are in memory."""
        return self.pixels is not None

    def __len__(self) -> int:
        return len(self.crops)

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"] | None) -> LabelledBatch:
        """The crops at ``indices`` with their labels; nothing about a crop is random."""
        chosen = [self.crops[i] for i in indices]
        pixels = np.stack(list(self.cut(chosen))) if self.pixels is None else self.pixels[indices]
        return pixels, np.array([crop.label for crop in chosen], np.int32)

    def cut(self, crops: Iterable[Crop]) -> Iterator[UInt8[np.ndarray, "m m 3"]]:
        """Cuts crops; an image whose crops follow one another is decoded once."""
        for image, group in itertools.groupby(crops, key=lambda crop: crop.image):
            pixels, mask = self.split.read_image(image), self.split.read_mask(image)
            for crop in group:
                yield cut(pixels, mask == self.split.stored_value(image, crop.class_id), self.side)


def open_crops(
    split: Split, classes: Sequence[int], min_pixels: int, side: int, say: Say | None = None, memory: int = HELD_BYTES
) -> Crops:
    """For each image of a split, a crop of each class of which it has ``min_pixels`` pixels.

    The crops are cut now and held if they fit into ``memory`` bytes, otherwise they are cut whenever they are taken. A
    crop's label is its class's place in ``classes``.
    """
    counts = np.asarray(split.counts)[:, list(classes)]
    listed = [Crop(int(i), classes[label], int(label)) for i, label in np.argwhere(counts >= min_pixels)]
    crops = Crops(split, listed, len(classes), side)
    if len(crops) * side * side * 3 > memory:
        return crops
    pixels = np.zeros((len(crops), side, side, 3), np.uint8)
    with Progress(f"{split.name}: crop", len(crops), "crops", say) as progress:
        for i, crop in enumerate(crops.cut(listed)):
            pixels[i] = crop
            progress.update(i + 1)
    return dataclasses.replace(crops, pixels=pixels)


def cut(image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], side: int) -> UInt8[np.ndarray, "m m 3"]:
    """The square around the largest connected part of ``mask``, with a margin, resized to ``side`` pixels.

    A square that reaches beyond the image is moved inside; what does not fit is filled with ImageNet's mean colour.
    """
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if count > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    extents = [(int(at[0]), int(at[-1]) + 1) for at in (rows, columns)]
    length = round(max(end - start for start, end in extents) * (1 + 2 * MARGIN))
    square = np.empty((length, length, 3), np.uint8)
    square[:] = np.round(255 * np.array(IMAGENET_MEAN))
    spans = zip(extents, mask.shape, strict=True)
    (top, above), (left, before) = (_place((start + end - length) // 2, length, n) for (start, end), n in spans)
    seen = image[top : top + length, left : left + length]
    square[above : above + seen.shape[0], before : before + seen.shape[1]] = seen
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR))


def _place(start: int, length: int, size: int) -> tuple[int, int]:
    """Where a window of ``length`` pixels begins on an axis of ``size``, and the filling before it."""
    if length >= size:
        return 0, (length - size) // 2
    return min(max(start, 0), size - length), 0
