"""Plan of an evaluation: the images to encode before each batch, and the features to drop.

All requests are known in advance, so Belady's rule applies: drop the features whose next use is furthest away.
"""

import heapq
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmnet_jax.cli.progress import byte_size

NEVER = math.inf


class Turn(NamedTuple):
    """The features to drop and to compute before one batch."""

    dropped: tuple[int, ...]
    """Images whose features are dropped first; none is in the batch."""
    chunks: tuple[tuple[int, ...], ...]
    """Images to encode together; the last chunk is filled up with images of later batches."""


class Plan(NamedTuple):
    """The turns of all batches."""

    turns: list[Turn]
    images: int
    """Number of different images in the batches."""

    def describe(self, episodes: int, requests: int, size: int) -> str:
        """One line on the reuse of features; ``size`` is the bytes of an image's features."""
        encoded = [sum(map(len, turn.chunks)) for turn in self.turns]
        dropped = [len(turn.dropped) for turn in self.turns]
        kept = max(itertools.accumulate(map(operator.sub, encoded, dropped)))
        images = f"features: {episodes:,} episodes use {self.images:,} images {requests:,} times"
        memory = f"at most {kept:,} in memory ({byte_size(kept * size)}"
        if sum(encoded) == self.images:
            return f"{images}; each is encoded once, {memory})"
        return f"{images}; {1 - sum(encoded) / requests:.0%} of the uses are cached, {memory}, evaluation.cache_gb)"


def plan_turns(batches: Sequence[Iterable[int]], capacity: int, chunk: int) -> Plan:
    """The turns of batches of images, with the features of at most ``capacity`` images kept.

    A batch of more than ``capacity`` different images keeps them all during its turn. With ``chunk`` = 1 the number of
    images encoded is minimal.
    """
    wanted = [tuple(dict.fromkeys(batch)) for batch in batches]
    turns_of: dict[int, list[int]] = {}  # the future turns of each image, the last one first
    for turn in reversed(range(len(wanted))):
        for image in wanted[turn]:
            turns_of.setdefault(image, []).append(turn)
    next_turn: dict[int, float] = {image: turns[-1] for image, turns in turns_of.items()}
    kept: set[int] = set()
    # an entry of a heap is valid while its turn is the image's next one
    absent = [(turn, image) for image, turn in next_turn.items()]
    droppable: list[tuple[float, int]] = []  # kept images outside the batch, by the negated turn
    heapq.heapify(absent)

    def first(heap: list[tuple[float, int]]) -> tuple[float, int] | None:
        while heap and ((heap[0][1] in kept) != (heap is droppable) or abs(heap[0][0]) != next_turn[heap[0][1]]):
            heapq.heappop(heap)
        return heap[0] if heap else None

    def drop(image: int) -> None:
        kept.remove(image)
        dropped.append(image)
        if next_turn[image] < NEVER:
            heapq.heappush(absent, (next_turn[image], image))

    turns: list[Turn] = []
    dropped: list[int] = []
    for images in wanted:
        for image in images:
            turns_of[image].pop()
            next_turn[image] = turns_of[image][-1] if turns_of[image] else NEVER
        encoded = [image for image in images if image not in kept]
        while len(kept) + len(encoded) > capacity and (furthest := first(droppable)):
            drop(furthest[1])
        kept.update(encoded)
        for _ in range(-len(encoded) % chunk):
            if not (soonest := first(absent)):
                break
            if len(kept) >= capacity:
                if not (furthest := first(droppable)) or -furthest[0] <= soonest[0]:
                    break
                drop(furthest[1])
            kept.add(image := soonest[1])
            encoded.append(image)
            heapq.heappush(droppable, (-next_turn[image], image))
        turns.append(Turn(tuple(dropped), tuple(tuple(encoded[i : i + chunk]) for i in range(0, len(encoded), chunk))))
        dropped = []
        for image in images:
            if next_turn[image] == NEVER:
                drop(image)
            else:
                heapq.heappush(droppable, (-next_turn[image], image))
    return Plan(turns, len(next_turn))
