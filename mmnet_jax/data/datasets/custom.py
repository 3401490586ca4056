"""A user's own dataset: images with masks of class indices, or class folders; the source names classes and folds."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmnet_jax.data.datasets.class_folders import IMAGES, MASK_END, list_pairs
from mmnet_jax.data.datasets.lists import image_id, read_names, refuse_shared, repeated
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import Classes, DatasetSpec, Example, Listing
from mmnet_jax.data.masks import read_mask
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError, listed
from mmnet_jax.labels import IGNORE

INDEXED = ("images", "masks", "classes.txt")
"""Files and folders that a source with masks of class indices must hold."""
FOLDS = "folds.txt"
LISTS = {"train": "train.txt", "val": "val.txt"}
MOST_FOLDS = 4
"""Equal parts of the classes where the user gives no number and there are more classes."""


def has_indices(source: Path) -> bool:
    """Whether the source holds ``INDEXED``, or else class folders; a ``UserError`` if it is neither."""
    lacking = [name for name in INDEXED if not (source / name).exists()]
    if not lacking:
        return True
    layouts = "a dataset holds images/, masks/ and classes.txt, or one folder a class with image and mask side by side"
    if len(lacking) < len(INDEXED):
        raise UserError(f"{source} has no {listed(lacking, 'and')}; {layouts}.")
    if not _class_folders(source):
        raise UserError(f"{source} holds no folders; {layouts}.")
    return False


def read_classes(source: Path, variant: str, folds: int | None) -> Classes:
    """The classes by ``classes.txt`` or class folders; folds by ``folds.txt``, or ``folds`` equal parts.

    A ``UserError`` tells what is missing or cannot be read, or a division that does not fit the classes.
    """
    indexed = has_indices(source)
    names = _class_names(source / "classes.txt") if indexed else _class_folders(source)
    return Classes(("background", *names), _divide(source / FOLDS, names, folds), (), one_class=not indexed)


def list_images(source: Path | None, variant: str) -> dict[str, Listing]:
    """The images of ``train.txt`` and ``val.txt``; without these lists every image is in both splits.

    A ``UserError`` tells a list that is missing, cannot be read or does not go with class folders, that the two share
    an image, or that no image has a mask.
    """
    assert source is not None
    lists = {split: source / name for split, name in LISTS.items() if (source / name).exists()}
    if has_indices(source):
        listings = _list_indexed(source, lists)
    elif lists:
        sentence = f"{next(iter(lists.values()))} does not go with class folders, whose images are in both splits"
        raise UserError(f"{sentence}; name the classes to hold out in {FOLDS}.")
    else:
        classes = {name: i for i, name in enumerate(_class_folders(source), 1)}
        listings = dict.fromkeys(LISTS, list_pairs(source, classes, read_pair))
    if not any(listing.ids for listing in listings.values()):
        first = next((name for listing in listings.values() for name in listing.missing), "NAME").rpartition("/")[2]
        wanted = f"the mask of {first}.jpg is {first}.png or {first}{MASK_END}.png"
        raise UserError(f"{source} holds no image with its mask: {wanted}, and images are {listed(IMAGES, 'or')}.")
    return listings


def read_indexed(files: tuple[Path, Path]) -> Example:
    """The example of an image and its mask of class indices."""
    image, mask = files
    return Example(read_file(image), read_file(mask), str(image), str(mask))


def read_pair(source: tuple[Path, Path, int]) -> Example:
    """The example of an image and the mask of its class, which is read as it looks (``masks.read_mask``)."""
    image, mask, class_id = source
    return Example(read_file(image), png_bytes(read_mask(mask)), str(image), str(mask), class_id=class_id)


def _class_names(file: Path) -> list[str]:
    """The names of classes 1, 2, 3 and so on; a first line ``background`` is index 0."""
    names = read_names(file)
    if names[0].lower() == "background":
        names = names[1:]
    if not 0 < len(names) < IGNORE:
        raise UserError(f"{file} names {len(names)} classes; a mask's indices tell 1 to {IGNORE - 1} apart.")
    return names


def _class_folders(source: Path) -> list[str]:
    """The names of the folders in a folder, but hidden ones, in alphabetical order."""
    return sorted(entry.name for entry in os.scandir(source) if entry.is_dir() and not entry.name.startswith("."))


def _divide(file: Path, names: Sequence[str], folds: int | None) -> list[list[int]]:
    """For each fold the classes that it holds out: a line of the file, or one of equal parts in the classes' order."""
    if not file.exists():
        count = min(MOST_FOLDS, len(names)) if folds is None else folds
        if count > len(names):
            raise UserError(f"--folds={count}, but there are only {len(names)} classes to hold out.")
        return [part.tolist() for part in np.array_split(np.arange(1, len(names) + 1), count)]
    if folds is not None:
        raise UserError(f"--folds={folds} contradicts {file}, which divides the classes; give one of them.")
    index = {name: i for i, name in enumerate(names, 1)}
    lines = [[name.strip() for name in line.split(",")] for line in read_names(file)]
    every = [name for line in lines for name in line]
    if unknown := next((name for name in every if name not in index), None):
        raise UserError(f"{file} names the class {unknown!r}, but there is {listed(names, 'and')}.")
    if (twice := repeated(every)) is not None:
        raise UserError(f"{file} holds out the class {twice!r} twice.")
    return [sorted(index[name] for name in line) for line in lines]


def _list_indexed(source: Path, lists: dict[str, Path]) -> dict[str, Listing]:
    images = image_files(source / "images", IMAGES)
    masks = image_files(source / "masks", (".png",))
    if len(lists) == 1:
        (there,) = lists.values()
        (lacking,) = LISTS.keys() - lists.keys()
        raise UserError(f"{there} is there, but no {LISTS[lacking]}; give both, or none: then every image is in both.")
    ids = {split: [image_id(name) for name in read_names(file)] for split, file in lists.items()}
    ids = ids or dict.fromkeys(LISTS, sorted(images))
    if lists:
        refuse_shared(ids, source, "; without lists every image is in both splits")
    listings = {}
    for split, names in ids.items():
        files = {name: (images.get(name), masks.get(name, masks.get(name + MASK_END))) for name in names}
        listings[split] = Listing.of_files(files, read_indexed)
    return listings


CUSTOM = DatasetSpec(
    name="custom",
    class_names=("background",),
    novel={"own": lambda fold: ()},
    build=list_images,
    variants={"folder": "custom"},
    folds=0,
    read_classes=read_classes,
    source="FOLDER",
    min_pixels=1,
    episodes={"pfenet": 1_000},
)
