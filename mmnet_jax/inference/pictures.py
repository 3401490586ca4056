"""The pictures of a folder, and what else lies there and why it is left out."""

import json
from collections import Counter
from pathlib import Path

from mmnet_jax.data.images import AVIF_SUFFIXES, HEIF_SUFFIXES, readable_suffixes

PREDICTIONS = "predictions.json"
"""What was predicted, in the folder of results."""
REASONS = dict.fromkeys(HEIF_SUFFIXES, " (HEIC, which the package pillow-heif reads: pip install pillow-heif)")
REASONS |= dict.fromkeys(AVIF_SUFFIXES, " (AVIF, which newer releases of Pillow read: pip install --upgrade pillow)")
"""Why files of these suffixes are left out, where they are."""


def find_pictures(folder: Path) -> tuple[list[Path], str]:
    """The pictures of a folder, not of its subfolders, sorted by name, and what was left out in words, if anything.

    A picture has the suffix of a format that can be read. Hidden files are passed over.
    """
    results, pictures, others = _results(folder), [], Counter[str]()
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        suffix = path.suffix.lower()
        if path.is_dir():
            others["folder"] += 1
        elif path.name in results:
            others["written by predict"] += 1
        elif suffix in readable_suffixes():
            pictures.append(path)
        else:
            others[suffix or "without a suffix"] += 1
    kinds = [(count, kind + "s" * (kind == "folder" and count > 1)) for kind, count in sorted(others.items())]
    return pictures, ", ".join(f"{count:,} {kind}{REASONS.get(kind, '')}" for count, kind in kinds)


def _results(folder: Path) -> set[str]:
    """Names of the files that ``predict`` wrote into a folder, as its ``predictions.json`` tells them."""
    try:
        numbers = json.loads((folder / PREDICTIONS).read_text())
        files = [query.get(kind) for query in numbers["queries"] for kind in ("mask", "overlay", "logits")]
        return {PREDICTIONS, *numbers["sheets"], *filter(None, files)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
