"""Lists of images and classes, packaged or in a source folder."""

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int

from mmnet_jax.data.datasets.sources import IMAGE_SUFFIXES, read_file
from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

_PATH = re.compile(r"""([A-Za-z]:/)?[^\s"'#,;:?*<>|\x00-\x1f]*(?<!/)""")
"""A path without spaces or characters of other formats (tables, JSON, comments), and not a folder's."""
_FORMS = "a line holds an id, an image's path, an image's and a mask's path, or an id with 1, 0 or -1"


def read_list(file: Path) -> list[str]:
    """The ids in a list of images, one a line, without duplicates.

    A line holds an id, or a file or path whose name without suffix is the id; then, optionally, the path of its mask
    (as in PFENet's lists), or 1 (included), 0 or -1 (left out; as in VOC's ImageSets/Main). The text is UTF-8 or UTF-16
    with any line ends. Raises a ``UserError`` for an unreadable file, a line of another form or an empty list.
    """
    ids = []
    for number, line in enumerate(_text(file).splitlines(), 1):
        image, *more = line.replace("\\", "/").split() or [""]
        if not image:
            continue
        flagged = len(more) == 1 and more[0] in ("1", "0", "-1")
        masked = len(more) == 1 and image_id(more[0]) == image_id(image)
        if not _PATH.fullmatch(image) or (more and not flagged and not masked):
            raise UserError(f"{file}, line {number}: {line[:100]!r} cannot be read; {_FORMS}.")
        if not flagged or more[0] == "1":
            ids.append(image_id(image))
    if not ids:
        raise UserError(f"{file} names no image; {_FORMS}.")
    return list(dict.fromkeys(ids))


def read_names(file: Path) -> list[str]:
    """The lines of a text file, such as class names, stripped and without empty ones.

    The text is UTF-8 or UTF-16 with any line ends. Raises a ``UserError`` for a file that is unreadable or empty, or
    that repeats a line.
    """
    names = [line.strip() for line in _text(file).splitlines() if line.strip()]
    if not names:
        raise UserError(f"{file} is empty.")
    if (twice := repeated(names)) is not None:
        raise UserError(f"{file} holds {twice!r} twice.")
    return names


def repeated(names: Iterable[str]) -> str | None:
    """The first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def check_disjoint(ids: Mapping[str, Iterable[str]], folder: Path, name: str = "{}.txt", advice: str = "") -> None:
    """Raises a ``UserError`` if the ids of ``train`` and ``val`` overlap; ``name`` is the form of the files' names."""
    if shared := sorted(set(ids["train"]) & set(ids["val"])):
        files = f"{name.format('train')} and {name.format('val')} of {folder}"
        raise UserError(f"{files} share {len(shared)} images, such as {shared[0]}{advice}.")


def image_id(path: str) -> str:
    """The name of a file or path, without an image's suffix."""
    name = PurePosixPath(path)
    return name.stem if name.suffix.lower() in IMAGE_SUFFIXES else name.name


def _text(file: Path) -> str:
    data = read_file(file)
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig" if b"\0" not in data else "utf-16-le")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text in UTF-8 or UTF-16 ({error.reason} at byte {error.start}).") from None


def packaged(name: str) -> bytes:
    """The content of a packaged list, decompressed."""
    data = resources.files("mmnet_jax.data").joinpath("lists", name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def packaged_names(name: str) -> list[str]:
    """The names in a packaged list, in its order: image ids (``voc2012_val``) or classes (``fss1000_test``)."""
    return packaged(f"{name}.txt").decode().split()


def coco_val_order() -> list[int]:
    """The 40,137 ids of COCO's published val list; their order decides the order of test episodes."""
    return [int(line) for line in packaged("coco_val_order.txt.gz").split()]


def pascal_counts() -> dict[str, Int[np.ndarray, "21"]]:
    """Pixels of every class, background first, in the masks of all 12,031 images of VOC 2012 and SBD, by ascending id.

    They allow drawing the episodes of PASCAL-5i without images.
    """
    counts = {}
    for line in packaged("pascal_counts.tsv.gz").decode().splitlines()[1:]:
        identity, _width, _height, pairs = line.split("\t")
        row = np.zeros(IGNORE + 1, np.int64)
        for pair in pairs.split():
            index, pixels = pair.split(":")
            row[int(index)] = pixels
        counts[identity] = row[:21]
    return counts
