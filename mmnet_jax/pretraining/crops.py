"""Objects of the base classes, cut out of a segmentation dataset to pretrain a backbone on."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from scipy import ndimage

from mmnet_jax.data.dataset import Split
from mmnet_jax.episode import IMAGENET_MEAN
from mmnet_jax.pretraining.labelled import LabelledBatch, LabelledImages

MARGIN = 0.15
"""Of the surroundings that a crop shows on each side, as a share of its object's longer side."""
HELD_BYTES = 512 * 2**20
"""Up to how much a split's crops are cut once and kept in memory."""


class Crop(NamedTuple):
    """Where a crop comes from, and its label."""

    image: int
    class_id: int
    label: int


def list_crops(split: Split, classes: Sequence[int], min_pixels: int) -> list[Crop]:
    """For each image, a crop of each class of which it has ``min_pixels`` pixels; labels follow ``classes``' order."""
    counts = np.asarray(split.counts)[:, list(classes)]
    return [Crop(int(i), classes[label], int(label)) for i, label in np.argwhere(counts >= min_pixels)]


def open_crops(
    split: Split,
    classes: Sequence[int],
    min_pixels: int,
    side: int,
    say: Callable[[str], None] = lambda line: None,
    held_bytes: int = HELD_BYTES,
) -> LabelledImages:
    """The crops of a split: cut now and held in memory if they fit, otherwise cut whenever they are asked for.

    Args:
      split: its images are read.
      classes: to cut out; a crop's label is its class's place here.
      min_pixels: of a class, for an image to give a crop of it.
      side: of a crop, pixels.
      say: gets a line every five seconds of cutting.
      held_bytes: that crops may take in memory.
    """
    crops = CropsOnDemand(split, list_crops(split, classes, min_pixels), len(classes), side)
    return crops if len(crops) * side * side * 3 > held_bytes else hold(crops, say)


@dataclasses.dataclass(frozen=True)
class CropsOnDemand:
    """Crops that are cut when they are taken, their whole images decoded."""

    split: Split
    crops: Sequence[Crop]
    classes: int
    side: int
    held: bool = False

    def __len__(self) -> int:
        return len(self.crops)

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        """Nothing about a crop is random."""
        chosen = [self.crops[i] for i in indices]
        pixels = np.zeros((len(chosen), self.side, self.side, 3), np.uint8)
        for i, crop in enumerate(chosen):
            image, mask = self.split.read(crop.image)
            pixels[i] = cut(image, mask == crop.class_id, self.side)
        return pixels, np.array([crop.label for crop in chosen], np.int32)


@dataclasses.dataclass(frozen=True)
class HeldCrops:
    """Crops in memory."""

    pixels: UInt8[np.ndarray, "n m m 3"]
    labels: Int[np.ndarray, " n"]
    classes: int
    held: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        """Nothing about a crop is random."""
        return self.pixels[indices], self.labels[indices]


def hold(crops: CropsOnDemand, say: Callable[[str], None] = lambda line: None) -> HeldCrops:
    """Cuts all crops, each image decoded once."""
    side, count = crops.side, len(crops)
    pixels = np.zeros((count, side, side, 3), np.uint8)
    start = last = time.monotonic()
    read = -1
    for i, crop in enumerate(crops.crops):  # an image's crops follow one another
        if crop.image != read:
            image, mask = crops.split.read(crop.image)
            read = crop.image
        pixels[i] = cut(image, mask == crop.class_id, side)
        now = time.monotonic()
        if now - last >= 5:
            last = now
            say(f"{i + 1:,} of {count:,} {crops.split.name} crops cut, {now - start:.0f} s")
    return HeldCrops(pixels, np.array([crop.label for crop in crops.crops], np.int32), crops.classes)


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
    (top, above), (left, before) = (
        _place((start + end - length) // 2, length, size)
        for (start, end), size in zip(extents, image.shape[:2], strict=True)
    )
    seen = image[top : top + length, left : left + length]
    square[above : above + seen.shape[0], before : before + seen.shape[1]] = seen
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR))


def _place(start: int, length: int, size: int) -> tuple[int, int]:
    """Where a window of ``length`` pixels begins on an axis of ``size``, and the filling before it."""
    if length >= size:
        return 0, (length - size) // 2
    return min(max(start, 0), size - length), 0
