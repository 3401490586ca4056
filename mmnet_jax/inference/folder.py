"""The images of a folder, and what else lies there and why it is left out."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmnet_jax.data.datasets.class_folders import MASK_END
from mmnet_jax.data.images import UNREADABLE, readable_suffixes

PREDICTIONS = "predictions.json"
"""What was predicted, in the folder of results."""


def find_images(folder: Path) -> tuple[list[Path], str]:
    """The images of a folder, not of its subfolders, sorted by name, and what was left out in words, if anything.

    An image has the suffix of a format that can be read. Hidden files are passed over.
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
    return images, ", ".join(_in_words(kind, count) for kind, count in sorted(others.items()))


def _masks(files: Sequence[Path]) -> set[Path]:
    """Masks as class folders have them: NAME_mask.png beside an image NAME, NAME.png beside one of another format."""
    names = {path.stem + MASK_END for path in files} | {path.stem for path in files if path.suffix.lower() != ".png"}
    return {path for path in files if path.suffix.lower() == ".png" and path.stem in names}


def _in_words(kind: str, count: int) -> str:
    plural = "s" if kind in ("folder", "mask") and count > 1 else ""
    return f"{count:,} {kind}{plural}" + (f" ({UNREADABLE[kind]})" if kind in UNREADABLE else "")


def _results(folder: Path) -> set[str]:
    """Names of the files that ``predict`` wrote into a folder, as its ``predictions.json`` tells them."""
    try:
        numbers = json.loads((folder / PREDICTIONS).read_text())
        files = [query.get(kind) for query in numbers["queries"] for kind in ("mask", "overlay", "logits")]
        return {PREDICTIONS, *numbers["sheets"], *filter(None, files)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
