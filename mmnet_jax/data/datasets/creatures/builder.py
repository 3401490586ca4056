"""Creatures: animals and vehicles put together from shared parts, on cluttered grounds; generated, with exact masks."""

import functools
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from mmnet_jax.data.datasets.creatures.anatomy import SPECIES
from mmnet_jax.data.datasets.creatures.scene import draw_scene
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, contiguous
from mmnet_jax.data.workers import begin_worker
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError

CHUNK = 20
"""Images that a drawing process hands over together."""


def list_scenes(source: Path | None, variant: str, *, images: Mapping[str, int]) -> dict[str, Listing]:
    """The images to draw: so many for each split; the variant ``seed0``, ``seed1`` and so on names the seed."""
    seed = int(variant.removeprefix("seed"))
    return {
        split: Listing([f"{split}_{i:05}" for i in range(count)], _draw(seed, part, count), count)
        for part, (split, count) in enumerate(images.items())
    }


def _draw(seed: int, part: int, count: int) -> Iterator[Example]:
    # Spawned, since a process that computes with jax must not be forked; each takes 200 MB.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(min(8, cores), get_context("spawn"), begin_worker) as pool:
        try:
            for chunk in pool.map(functools.partial(draw_encoded, seed, part, count), range(0, count, CHUNK)):
                yield from chunk
        except BrokenProcessPool:
            raise UserError("a process that draws creatures was killed, perhaps for want of memory.") from None


def draw_encoded(seed: int, part: int, count: int, first: int) -> list[Example]:
    """Images ``first`` to ``first + CHUNK - 1`` of the ``count`` of a part, encoded as PNG."""
    drawn = []
    for number in range(first, min(first + CHUNK, count)):
        image, mask = (png_bytes(pixels, compress_level=1) for pixels in draw_scene(seed, part, number))
        drawn.append(Example(image, mask, f"image {number}", f"mask {number}"))
    return drawn


def creatures(name: str = "creatures", train: int = 1600, val: int = 400) -> DatasetSpec:
    """The dataset with the given numbers of images."""
    return DatasetSpec(
        name=name,
        class_names=("background", *SPECIES),
        novel=contiguous(5),
        build=functools.partial(list_scenes, images={"train": train, "val": val}),
        variants={"seed0": "quickstart"},
        generated=True,
        min_pixels=200,
        episodes={"pfenet": 1_000},
    )


CREATURES = creatures()
