"""Query images of a folder, and a summary of the files that are skipped."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmnet_jax.data.datasets.class_folders import MASK_END
from mmnet_jax.data.images import UNREADABLE, readable_suffixes

PREDICTIONS = "predictions.json"
"""File in the output folder that describes the results."""


def find_images(folder: Path) -> tuple[list[Path], str]:
    """The images of a folder without its subfolders, sorted by name, and a summary of what is skipped, or ``""``.

    Images are recognised by the suffixes of readable formats. Hidden files are ignored.
    """
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    readable = [path for path in files if path.suffix.lower() in readable_suffixes() and not path.is_dir()]
    results, masks, images, others = _results(folder), _masks(readable), [], Counter[str]()
    for path in files:
        if path.is_dir():
            others["folder"] += 1
        elif path.name in results:
            others["written by predict"] += 1
        elif path in masks:
            others["mask"] += 1
        elif path.suffix.lower() in readable_suffixes():
            images.append(path)
        else:
            others[path.suffix.lower() or "without a suffix"] += 1
    return images, ", ".join(_describe(kind, count) for kind, count in sorted(others.items()))


def _masks(files: Sequence[Path]) -> set[Path]:
    """Masks of other images: NAME_mask.png beside an image NAME, and NAME.png beside NAME in another format."""
    names = {path.stem + MASK_END for path in files} | {path.stem for path in files if path.suffix.lower() != ".png"}
    return {path for path in files if path.suffix.lower() == ".png" and path.stem in names}


def _describe(kind: str, count: int) -> str:
    plural = "s" if kind in ("folder", "mask") and count > 1 else ""
    return f"{count:,} {kind}{plural}" + (f" ({UNREADABLE[kind]})" if kind in UNREADABLE else "")


def _results(folder: Path) -> set[str]:
    """Names of the files that ``predict`` wrote into a folder, from its ``predictions.json``."""
    try:
        numbers = json.loads((folder / PREDICTIONS).read_text())
        files = [query.get(kind) for query in numbers["queries"] for kind in ("mask", "overlay", "logits")]
        return {PREDICTIONS, *numbers["sheets"], *filter(None, files)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
