"""Class folders: one folder a class, in which each image lies beside the mask of that class."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmnet_jax.data.datasets.sources import image_files
from mmnet_jax.data.datasets.spec import Example, Listing

IMAGES = (".jpg", ".jpeg", ".webp", ".png")
"""Suffixes of images; PNG comes last, since the PNG beside an image of the same name is its mask."""
MASK_END = "_mask"
"""Optional end of a mask's name, after its image's name."""


def list_pairs(
    folder: Path,
    classes: Mapping[str, int],
    read: Callable[[Any], Example],
    wanted: Sequence[str] = (),
    suffixes: tuple[str, ...] = IMAGES,
) -> Listing:
    """A listing of class folders, in the order of ``classes``, then of file names as strings (1, 10, 2).

    The mask of NAME.jpg is NAME_mask.png, or else NAME.png; that of NAME.png is NAME_mask.png. The id of an image is
    CLASS/NAME.

    Args:
      classes: name of a folder -> mask index.
      read: function from (image, mask, mask index) to an example.
      wanted: names of the images of each class, without suffix; empty: all that exist.
      suffixes: suffixes of images.
    """
    files: dict[str, tuple[Path | None, Path | None, int]] = {}
    for name, class_id in classes.items():
        images = image_files(folder / name, suffixes)
        masks = image_files(folder / name, (".png",))
        other_masks = {stem + MASK_END for stem in images}
        for stem in wanted or sorted(images.keys() - other_masks):
            image = images.get(stem)
            beside = masks.get(stem) if image and image.suffix.lower() != ".png" else None
            files[f"{name}/{stem}"] = image, masks.get(stem + MASK_END, beside), class_id
    return Listing.of_files(files, read)
