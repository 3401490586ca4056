"""Files of a source folder: images by name, and their content."""

import os
from pathlib import Path

from mmnet_jax.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Suffixes of images, in any case; for two files of one name the first suffix here wins."""


def image_files(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Files of a folder with one of the suffixes, by name without suffix; empty if the folder does not exist.

    Hidden files are ignored, such as the ``._NAME`` that macOS puts beside each file on other disks.
    """
    found: dict[str, tuple[int, str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes and not name.startswith("."):
            rank = suffixes.index(suffix.lower()), name
            found[stem] = min(rank, found.get(stem, rank))
    return {stem: folder / name for stem, (_, name) in found.items()}


def read_file(file: Path) -> bytes:
    """The content of a file; raises a ``UserError`` that names it if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
