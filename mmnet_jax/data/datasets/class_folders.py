"""Class folders: one folder a class, in which each image lies beside the mask of that class."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmnet_jax.data.datasets.sources import image_files
from mmnet_jax.data.datasets.spec import Example, Listing

IMAGES = (".jpg", ".jpeg", ".webp", ".png")
"""Suffixes of images; PNG comes last, since the PNG beside an image of the same name is its mask."""
MASK_END = "_mask"
"""A mask's name may end in this after its image's name."""


def list_pairs(
    folder: Path,
    classes: Mapping[str, int],
    read: Callable[[Any], Example],
    wanted: Sequence[str] = (),
    suffixes: tuple[str, ...] = IMAGES,
) -> Listing:
    """The images of some class folders (name -> mask index), in the order of ``classes``, then of their file names.

    The mask of NAME.jpg is NAME_mask.png, or else NAME.png; that of NAME.png is NAME_mask.png. File names sort as
    strings: 1, 10, 2. ``wanted`` names the images of each class, without suffix; empty: all that are there. An image's
    id is CLASS/NAME. ``read`` takes a tuple of image, mask and mask index; ``suffixes`` are those of images.
    """
    files: dict[str, tuple[Path | None, Path | None, int]] = {}
    for name, class_id in classes.items():
        images = image_files(folder / name, suffixes)
        masks = image_files(folder / name, (".png",))
        of_others = {stem + MASK_END for stem in images}
        for stem in wanted or sorted(images.keys() - of_others):
            image = images.get(stem)
            beside = masks.get(stem) if image and image.suffix.lower() != ".png" else None
            files[f"{name}/{stem}"] = image, masks.get(stem + MASK_END, beside), class_id
    return Listing.of_files(files, read)
