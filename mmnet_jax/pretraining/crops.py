"""Objects of the base classes, cut out of a segmentation dataset to pretrain a backbone on."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from scipy import ndimage

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import Split
from mmnet_jax.episode import IMAGENET_MEAN
from mmnet_jax.pretraining.labelled import LabelledBatch, LabelledImages

MARGIN = 0.15
"""Surroundings that a crop shows on each side, as a fraction of its object's longer side."""
MEMORY = 512 * 2**20
"""Bytes up to which a split's crops are kept in memory."""


class Crop(NamedTuple):
    """One image's object of one class, and its label."""

    image: int
    class_id: int
    label: int


def list_crops(split: Split, classes: Sequence[int], min_pixels: int) -> list[Crop]:
    """A crop for each image and each class of ``classes`` of which it has ``min_pixels`` pixels.

    A crop's label is the position of its class in ``classes``.
    """
    counts = np.asarray(split.counts)[:, list(classes)]
    return [Crop(int(i), classes[label], int(label)) for i, label in np.argwhere(counts >= min_pixels)]


def open_crops(
    split: Split, classes: Sequence[int], min_pixels: int, side: int, say: Say | None = None, memory: int = MEMORY
) -> LabelledImages:
    """The crops of ``list_crops``, ``side`` pixels wide, as images to pretrain on.

    They are cut now if all fit into ``memory`` bytes, otherwise whenever they are taken. None of them is random.
    """
    crops = list_crops(split, classes, min_pixels)
    labels = np.array([crop.label for crop in crops], np.int32)
    pixels: UInt8[np.ndarray, "n m m 3"] | None = None
    if len(crops) * side * side * 3 <= memory:
        pixels = np.zeros((len(crops), side, side, 3), np.uint8)
        with Progress(f"{split.name}: crop", len(crops), "crops", say) as progress:
            for i, crop in enumerate(_cut_all(split, crops, side)):
                pixels[i] = crop
                progress.update(i + 1)

    def take(indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        if pixels is None:
            return np.stack([*_cut_all(split, [crops[i] for i in indices], side)]), labels[indices]
        return pixels[indices], labels[indices]

    return LabelledImages(len(crops), len(classes), take, in_memory=pixels is not None)


def _cut_all(split: Split, crops: Sequence[Crop], side: int) -> Iterator[UInt8[np.ndarray, "m m 3"]]:
    """Cuts crops; an image whose crops follow one another is decoded once."""
    for i, group in itertools.groupby(crops, key=lambda crop: crop.image):
        image, mask = split.read_image(i), split.read_mask(i)
        for crop in group:
            yield cut(image, mask == split.stored_value(i, crop.class_id), side)


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
    """The first pixel of a window of ``length`` pixels on an axis of ``size``, and the filling before it."""
    if length >= size:
        return 0, (length - size) // 2
    return min(max(start, 0), size - length), 0
