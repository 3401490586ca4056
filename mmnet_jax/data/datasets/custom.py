"""A user's own dataset: images with masks of class indices, or class folders; the source names classes and folds."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmnet_jax.data.datasets.class_folders import IMAGES, MASK_END, list_pairs
from mmnet_jax.data.datasets.lists import check_disjoint, image_id, read_names, repeated
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import Classes, DatasetSpec, Example, Listing
from mmnet_jax.data.masks import read_mask
from mmnet_jax.errors import UserError, listed
from mmnet_jax.labels import IGNORE

INDEXED = ("images", "masks", "classes.txt")
"""Files and folders of a source with masks of class indices."""
SPLITS = ("train", "val")
MAX_FOLDS = 4
"""Default number of folds, if there are enough classes."""


def has_indices(source: Path) -> bool:
    """Whether the source has masks of class indices; otherwise it has class folders.

    Raises a ``UserError`` if it has neither layout.
    """
    lacking = [name for name in INDEXED if not (source / name).exists()]
    if not lacking:
        return True
    if len(lacking) == len(INDEXED) and _class_folders(source):
        return False
    fault = f"has no {listed(lacking, 'and')}" if len(lacking) < len(INDEXED) else "holds no folders"
    layouts = "images/, masks/ and classes.txt, or one folder a class with image and mask side by side"
    raise UserError(f"{source} {fault}; a dataset holds {layouts}.")


def read_classes(source: Path, variant: str, folds: int | None) -> Classes:
    """The classes from ``classes.txt`` or class folders; folds from ``folds.txt``, or ``folds`` equal parts.

    Raises a ``UserError`` for a file that is missing or unreadable, and for folds that do not fit the classes.
    """
    indexed = has_indices(source)
    names = _class_names(source / "classes.txt") if indexed else _class_folders(source)
    return Classes(("background", *names), _divide(source / "folds.txt", names, folds), (), one_class=not indexed)


def list_images(source: Path, variant: str) -> dict[str, Listing]:
    """The images of ``train.txt`` and ``val.txt``; without these lists every image is in both splits.

    Raises a ``UserError`` for a list that is unreadable, lacks its counterpart or lies beside class folders, and for
    lists that share an image.
    """
    lists = {split: file for split in SPLITS if (file := source / f"{split}.txt").exists()}
    if not has_indices(source):
        if lists:
            sentence = f"{next(iter(lists.values()))} does not apply to class folders, whose images are in both splits"
            raise UserError(f"{sentence}; name the classes to hold out in folds.txt.")
        classes = {name: i for i, name in enumerate(_class_folders(source), 1)}
        return dict.fromkeys(SPLITS, list_pairs(source, classes, read_pair))
    if len(lists) == 1:
        (split, file), *_ = lists.items()
        other = file.with_name("val.txt" if split == "train" else "train.txt")
        raise UserError(f"{file} needs {other} beside it; without both lists every image is in both splits.")
    images, masks = image_files(source / "images", IMAGES), image_files(source / "masks", (".png",))
    ids = {split: [image_id(name) for name in read_names(file)] for split, file in lists.items()}
    if ids:
        check_disjoint(ids, source, advice="; without lists every image is in both splits")
    files = {name: (images.get(name), masks.get(name, masks.get(name + MASK_END))) for name in sorted(images)}
    return {
        split: Listing.of_files({name: files.get(name, (None, None)) for name in ids.get(split, files)}, read_indexed)
        for split in SPLITS
    }


def read_indexed(files: tuple[Path, Path]) -> Example:
    """The example of an image and its mask of class indices."""
    image, mask = files
    return Example(read_file(image), read_file(mask), str(image), str(mask))


def read_pair(source: tuple[Path, Path, int]) -> Example:
    """The example of an image and the mask of its class, whose foreground ``masks.read_mask`` finds."""
    image, mask, class_id = source
    return Example(read_file(image), read_mask(mask), str(image), str(mask), class_id=class_id)


def _class_names(file: Path) -> list[str]:
    """The names of classes 1, 2, 3 and so on; a first line ``background`` may name index 0."""
    names = read_names(file)
    if names[0].lower() == "background":
        names = names[1:]
    if not 0 < len(names) < IGNORE:
        raise UserError(f"{file} names {len(names)} classes, but must name 1 to {IGNORE - 1} besides the background.")
    return names


def _class_folders(source: Path) -> list[str]:
    """The names of the folders in a folder, except hidden ones, in alphabetical order."""
    return sorted(entry.name for entry in os.scandir(source) if entry.is_dir() and not entry.name.startswith("."))


def _divide(file: Path, names: Sequence[str], folds: int | None) -> list[list[int]]:
    """The novel classes of each fold: those of a line of the file, or one of equal parts in the classes' order."""
    if not file.exists():
        count = min(MAX_FOLDS, len(names)) if folds is None else folds
        if count > len(names):
            raise UserError(f"--folds={count}, but there are only {len(names)} classes to hold out.")
        return [part.tolist() for part in np.array_split(np.arange(1, len(names) + 1), count)]
    if folds is not None:
        raise UserError(f"--folds={folds} contradicts {file}, which divides the classes; give only one of them.")
    index = {name: i for i, name in enumerate(names, 1)}
    lines = [[name.strip() for name in line.split(",")] for line in read_names(file)]
    every = [name for line in lines for name in line]
    if unknown := next((name for name in every if name not in index), None):
        raise UserError(f"{file} names the class {unknown!r}, but the classes are {listed(names, 'and')}.")
    if (twice := repeated(every)) is not None:
        raise UserError(f"{file} holds out the class {twice!r} twice.")
    return [sorted(index[name] for name in line) for line in lines]


CUSTOM = DatasetSpec(
    name="custom",
    class_names=("background",),
    novel={"own": lambda fold: ()},
    build=list_images,
    variants={"folder": "custom"},
    folds=0,
    read_classes=read_classes,
    source="FOLDER",
    layout=f"the mask of NAME.jpg is NAME.png or NAME{MASK_END}.png, and images are {listed(IMAGES, 'or')}",
    min_pixels=1,
    episodes={"pfenet": 1_000},
)
