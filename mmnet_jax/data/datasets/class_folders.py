"""Class folders: one folder a class, in which each image lies beside the mask of that class."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmnet_jax.data.datasets.sources import image_files
from mmnet_jax.data.datasets.spec import Example, Listing

IMAGES = (".jpg", ".jpeg", ".webp", ".png")
"""Suffixes of images; PNG comes last, since the PNG beside an image of the same name is its mask."""
MASK_END = "_mask"
"""What a mask's name may add to its image's."""


class Pair(NamedTuple):
    """An image, its mask, and the class that the mask shows."""

    image: Path
    mask: Path
    class_id: int


def list_pairs(
    folder: Path,
    classes: Mapping[str, int],
    read: Callable[[Any], Example],
    wanted: Sequence[str] = (),
    suffixes: tuple[str, ...] = IMAGES,
) -> Listing:
    """The images of some class folders (name -> mask index), in the order of ``classes``, by ascending file names.

    The mask of NAME.jpg is NAME_mask.png, or else NAME.png; that of NAME.png is NAME_mask.png. File names ascend as
    texts do: 1, 10, 2. ``wanted`` names the images of each class, without suffix; all that are there if empty. An
    image's id is CLASS/NAME. ``read`` takes a ``Pair``, ``suffixes`` are those of images.
    """
    ids, sources, missing, without_mask = [], [], [], 0
    for name, class_id in classes.items():
        images = image_files(folder / name, suffixes)
        masks = image_files(folder / name, (".png",))
        of_others = {stem + MASK_END for stem in images}
        names = wanted or sorted(images.keys() - of_others)
        for stem in names:
            identity, image = f"{name}/{stem}", images.get(stem)
            beside = masks.get(stem) if image and image.suffix.lower() != ".png" else None
            mask = masks.get(stem + MASK_END, beside)
            if image and mask:
                ids.append(identity)
                sources.append(Pair(image, mask, class_id))
            else:
                missing.append(identity)
                without_mask += image is not None
    return Listing(ids, sources, read, len(ids) + len(missing), without_mask, missing)
