"""Creatures: animals and vehicles put together from shared parts, on cluttered grounds; generated, with exact masks."""

import functools
from collections.abc import Mapping
from pathlib import Path

from mmnet_jax.data.datasets.creatures.anatomy import SPECIES
from mmnet_jax.data.datasets.creatures.scene import draw_scene
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, contiguous
from mmnet_jax.drawing.images import png_bytes


def list_scenes(source: Path | None, variant: str, *, images: Mapping[str, int]) -> dict[str, Listing]:
    """The images to draw: so many for each split; the variant ``seed0``, ``seed1`` and so on names the seed."""
    seed = int(variant.removeprefix("seed"))
    return {
        split: Listing(
            [f"{split}_{i:05}" for i in range(count)], range(count), functools.partial(draw_example, seed, part), count
        )
        for part, (split, count) in enumerate(images.items())
    }


def draw_example(seed: int, part: int, number: int) -> Example:
    """Image ``number`` of a part, encoded as PNG."""
    image, mask = (png_bytes(pixels, compress_level=1) for pixels in draw_scene(seed, part, number))
    return Example(image, mask, f"image {number}", f"mask {number}")


def creatures(name: str = "creatures", train: int = 1600, val: int = 400) -> DatasetSpec:
    """The dataset with the given numbers of images."""
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
