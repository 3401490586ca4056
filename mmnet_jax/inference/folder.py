"""The images of a folder, and what else lies there and why it is left out."""

import json
from collections import Counter
from pathlib import Path

from mmnet_jax.data.images import UNREADABLE, readable_suffixes

PREDICTIONS = "predictions.json"
"""What was predicted, in the folder of results."""


def find_images(folder: Path) -> tuple[list[Path], str]:
    """The images of a folder, not of its subfolders, sorted by name, and what was left out in words, if anything.

    An image has the suffix of a format that can be read. Hidden files are passed over.
    """
    results, images, others = _results(folder), [], Counter[str]()
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        suffix = path.suffix.lower()
        if path.is_dir():
            others["folder"] += 1
        elif path.name in results:
            others["written by predict"] += 1
        elif suffix in readable_suffixes():
            images.append(path)
        else:
            others[suffix or "without a suffix"] += 1
    return images, ", ".join(_in_words(kind, count) for kind, count in sorted(others.items()))


def _in_words(kind: str, count: int) -> str:
    plural = "s" if kind == "folder" and count > 1 else ""
    return f"{count:,} {kind}{plural}" + (f" ({UNREADABLE[kind]})" if kind in UNREADABLE else "")


def _results(folder: Path) -> set[str]:
    """Names of the files that ``predict`` wrote into a folder, as its ``predictions.json`` tells them."""
    try:
        numbers = json.loads((folder / PREDICTIONS).read_text())
        files = [query.get(kind) for query in numbers["queries"] for kind in ("mask", "overlay", "logits")]
        return {PREDICTIONS, *numbers["sheets"], *filter(None, files)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
