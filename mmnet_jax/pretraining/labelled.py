"""Images with one label each, to pretrain a backbone on, and the endless sequence of their batches."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Generator
from contextlib import closing
from typing import Protocol

import grain
import numpy as np
from jaxtyping import Int, UInt8

from mmnet_jax.data.batches import read_ahead
from mmnet_jax.data.streams import IMAGE_ORDER, permutation

LabelledBatch = tuple[UInt8[np.ndarray, "b m m 3"], Int[np.ndarray, " b"]]
BatchIterator = Generator[LabelledBatch, None, None]


class LabelledImages(Protocol):
    """Squares of one size with their labels."""

    @property
    def classes(self) -> int:
        """Labels are 0 to classes - 1."""
        ...

    @property
    def held(self) -> bool:
        """Whether they are in memory, so that there is nothing to read ahead."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        """The images at ``indices``; what is random about the i-th is a function of ``draws[i]`` and the index."""
        ...


@dataclasses.dataclass(frozen=True)
class ShuffledBatches:
    """Batch b as a pure function of ``(seed, b)``: one random order of all images after the other, cut into batches."""

    images: LabelledImages
    seed: int
    batch_size: int

    def batch(self, b: int) -> LabelledBatch:
        """Batch ``b``, counted from 0."""
        draws = np.arange(b * self.batch_size, (b + 1) * self.batch_size)
        epochs, places = np.divmod(draws, len(self.images))
        indices = [
            permutation(self.seed, IMAGE_ORDER, int(e), len(self.images))[p]
            for e, p in zip(epochs, places, strict=True)
        ]
        return self.images.take(np.asarray(indices), draws)

    def iterate(self, start: int, workers: int) -> BatchIterator:
        """All batches from ``start`` on, without end.

        Images that are not held are read ahead by ``workers`` processes, or by threads (0), until it is closed.
        """
        if self.images.held:
            yield from map(self.batch, itertools.count(start))
        else:
            with closing(read_ahead(grain.MapDataset.range(start, sys.maxsize).map(self.batch), workers)) as batches:
                yield from batches


@dataclasses.dataclass(frozen=True)
class OrderedBatches:
    """Every image once, in order; a last batch is filled up with copies of the last image, labelled -1."""

    images: LabelledImages
    batch_size: int

    def batch(self, b: int) -> LabelledBatch:
        """Batch ``b``, counted from 0."""
        places = np.arange(b * self.batch_size, (b + 1) * self.batch_size)
        pixels, labels = self.images.take(np.minimum(places, len(self.images) - 1), places)
        return pixels, np.where(places < len(self.images), labels, -1)

    def iterate(self, workers: int) -> BatchIterator:
        """All batches, read ahead as those of ``ShuffledBatches``."""
        count = -(-len(self.images) // self.batch_size)
        if self.images.held:
            yield from map(self.batch, range(count))
        else:
            with closing(read_ahead(grain.MapDataset.range(count).map(self.batch), workers)) as batches:
                yield from batches
