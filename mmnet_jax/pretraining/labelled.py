"""Images with one label each, to pretrain a backbone on, and iterators over their batches."""

import dataclasses
from collections.abc import Callable

import grain
import numpy as np
from jaxtyping import Int, UInt8

from mmnet_jax.data.batches import ENDLESS, read_ahead
from mmnet_jax.data.streams import IMAGE_ORDER, permutation

LabelledBatch = tuple[UInt8[np.ndarray, "b m m 3"], Int[np.ndarray, " b"]]


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Square images of one size with their labels."""

    count: int
    classes: int  # labels are 0 to classes - 1
    take: Callable[[Int[np.ndarray, " b"], Int[np.ndarray, " b"]], LabelledBatch]
    """``take(indices, draws)`` reads images; randomness in the i-th is a function of its index and ``draws[i]``."""
    in_memory: bool = False  # so that worker processes have nothing to read

    def __len__(self) -> int:
        return self.count


def shuffled_batches(
    images: LabelledImages, seed: int, batch_size: int, start: int = 0, workers: int = 0
) -> grain.DatasetIterator[LabelledBatch]:
    """Endless batches from number ``start`` on, each epoch in a new random order: batch b depends on (seed, b)."""

    def make(b: int) -> LabelledBatch:
        draws = np.arange(b * batch_size, (b + 1) * batch_size)
        places = [divmod(draw, len(images)) for draw in draws.tolist()]
        indices = [permutation(seed, IMAGE_ORDER, epoch, len(images))[place] for epoch, place in places]
        return images.take(np.asarray(indices), draws)

    return read_ahead(make, range(start, ENDLESS), 0 if images.in_memory else workers)


def ordered_batches(images: LabelledImages, batch_size: int, workers: int = 0) -> grain.DatasetIterator[LabelledBatch]:
    """Every image once, in order; copies of the last image, labelled -1, fill up the last batch."""

    def make(first: int) -> LabelledBatch:
        places = np.arange(first, first + batch_size)
        pixels, labels = images.take(np.minimum(places, len(images) - 1), places)
        return pixels, np.where(places < len(images), labels, -1)

    return read_ahead(make, range(0, len(images), batch_size), 0 if images.in_memory else workers)
