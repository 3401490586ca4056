"""Files of a dataset's source folder: images by name, and their bytes."""

import os
from pathlib import Path

from mmnet_jax.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes of images, in any case; of two files with one name the first suffix here wins."""


def image_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """The files of a folder with one of some suffixes, by their names without it; empty if there is no such folder.

    Hidden files, such as the ``._NAME`` that macOS puts beside each file on other disks, are passed over.
    """
    found: dict[str, tuple[int, str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes and not name.startswith("."):
            rank = suffixes.index(suffix.lower()), name
            found[stem] = min(rank, found.get(stem, rank))
    return {stem: folder / name for stem, (_, name) in found.items()}


def read_file(file: Path) -> bytes:
    """The content of a file; a ``UserError`` names one that cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
