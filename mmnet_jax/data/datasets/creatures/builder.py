"""Declaration of the generated dataset ``creatures``."""

import functools
from collections.abc import Mapping
from pathlib import Path

from mmnet_jax.data.datasets.creatures.anatomy import SPECIES
from mmnet_jax.data.datasets.creatures.scene import draw_scene
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, contiguous
from mmnet_jax.drawing.images import png_bytes


def list_scenes(source: Path, variant: str, *, images: Mapping[str, int]) -> dict[str, Listing]:
    """The images to draw, ``images[split]`` of each split; ``variant`` is ``seed0``, ``seed1`` and so on."""
    seed, listings = int(variant.removeprefix("seed")), {}
    for part, (split, count) in enumerate(images.items()):
        ids = [f"{split}_{i:05}" for i in range(count)]
        listings[split] = Listing(ids, range(count), functools.partial(draw_example, seed, part), count)
    return listings


def draw_example(seed: int, part: int, number: int) -> Example:
    """The example of ``draw_scene``."""
    image, mask = draw_scene(seed, part, number)
    return Example(png_bytes(image, compress_level=1), mask, f"image {number}", f"mask {number}")


def creatures(name: str = "creatures", train: int = 1600, val: int = 400) -> DatasetSpec:
    """The dataset with ``train`` training and ``val`` test images."""
    return DatasetSpec(
        name=name,
        class_names=("background", *SPECIES),
        novel={"contiguous": contiguous(5)},
        build=functools.partial(list_scenes, images={"train": train, "val": val}),
        variants={"seed0": "quickstart"},
        variant_field="data.generator_seed",
        generated=True,
        min_pixels=200,
        episodes={"pfenet": 1_000},
    )


CREATURES = creatures()
