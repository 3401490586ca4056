"""Images with one label each, to pretrain a backbone on, and the sequences of their batches."""

from typing import Protocol, runtime_checkable

import grain
import numpy as np
from jaxtyping import Int, UInt8

from mmnet_jax.data.batches import ENDLESS, read_ahead
from mmnet_jax.data.streams import IMAGE_ORDER, permutation

LabelledBatch = tuple[UInt8[np.ndarray, "b m m 3"], Int[np.ndarray, " b"]]


@runtime_checkable
class LabelledImages(Protocol):
    """Squares of one size with their labels."""

    @property
    def classes(self) -> int:
        """Labels are 0 to classes - 1."""

    @property
    def held(self) -> bool:
        """Whether they are in memory, so that no worker process reads them."""

    def __len__(self) -> int: ...

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        """The images at ``indices``; what is random about the i-th is a function of ``draws[i]`` and the index."""


def shuffled_batches(
    images: LabelledImages, seed: int, batch_size: int, start: int = 0, workers: int = 0
) -> grain.DatasetIterator[LabelledBatch]:
    """Endless batches from number ``start`` on, in one random order after the other: batch b depends on (seed, b)."""

    def make(b: int) -> LabelledBatch:
        draws = np.arange(b * batch_size, (b + 1) * batch_size)
        places = [divmod(draw, len(images)) for draw in draws.tolist()]
        indices = [permutation(seed, IMAGE_ORDER, epoch, len(images))[place] for epoch, place in places]
        return images.take(np.asarray(indices), draws)

    return read_ahead(make, range(start, ENDLESS), 0 if images.held else workers)


def ordered_batches(images: LabelledImages, batch_size: int, workers: int = 0) -> grain.DatasetIterator[LabelledBatch]:
    """Every image once, in order; a last batch is filled up with copies of the last image, labelled -1."""

    def make(first: int) -> LabelledBatch:
        places = np.arange(first, first + batch_size)
        pixels, labels = images.take(np.minimum(places, len(images) - 1), places)
        return pixels, np.where(places < len(images), labels, -1)

    return read_ahead(make, range(0, len(images), batch_size), 0 if images.held else workers)
