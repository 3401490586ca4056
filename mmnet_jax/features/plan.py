"""A plan of the images that an evaluation encodes before each batch, and of the features that it drops.

All requests are known beforehand, so Belady's rule applies: the features whose next use is furthest away are dropped.
"""

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmnet_jax.cli.progress import byte_size

NEVER = math.inf


class Turn(NamedTuple):
    """The preparation for one batch."""

    dropped: tuple[int, ...]
    """Images whose features go first; none of the batch."""
    chunks: tuple[tuple[int, ...], ...]
    """Images to encode, together at most the chunk's size; the last chunk is filled up with images of later batches."""


class Plan(NamedTuple):
    """The turns of an evaluation's batches."""

    turns: list[Turn]
    images: int
    """Number of different images asked for."""

    def describe(self, episodes: int, requests: int, size: int) -> str:
        """One line on the work that the plan saves; ``size`` is the number of bytes of an image's features."""
        kept = list(itertools.accumulate(sum(map(len, turn.chunks)) - len(turn.dropped) for turn in self.turns))
        encoded = sum(len(images) for turn in self.turns for images in turn.chunks)
        asked = f"features: {episodes:,} episodes ask {requests:,} times for {self.images:,} images"
        memory = f"at most {max(kept):,} at a time in memory, {byte_size(max(kept) * size)}"
        if encoded == self.images:
            return f"{asked}; each is encoded once, {memory}"
        found = f"{1 - encoded / requests:.0%} of the requests are found encoded"
        return f"{asked}; {found}, with {memory} (evaluation.cache_gb)"


def plan_turns(batches: Sequence[Iterable[int]], capacity: int, chunk: int) -> Plan:
    """The turns of batches that ask for images, with features of at most ``capacity`` images kept.

    Where one batch asks for more than ``capacity`` different images, as many are kept for its time. The number of
    images encoded is the smallest possible with ``chunk`` = 1.
    """
    asked = [tuple(dict.fromkeys(batch)) for batch in batches]
    turns_of: dict[int, list[int]] = {}  # for each image its turns that are still to come, the last one first
    for turn in reversed(range(len(asked))):
        for image in asked[turn]:
            turns_of.setdefault(image, []).append(turn)
    next_turn: dict[int, float] = {image: turns[-1] for image, turns in turns_of.items()}
    kept: set[int] = set()
    # entries of a heap hold for as long as their turn is the image's next one
    absent = [(turn, image) for image, turn in next_turn.items()]
    droppable: list[tuple[float, int]] = []  # kept images that the batch does not ask for, by the turn, negated
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
    for images in asked:
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
