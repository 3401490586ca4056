"""Reads the episodes of a manifest in plain Python, and saves predicted masks for ``mmnet_jax.score``."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Episode(NamedTuple):
    number: int
    query: np.ndarray  # uint8 [h, w, 3]
    supports: list[tuple[np.ndarray, np.ndarray]]  # K images, uint8 [h, w, 3], each with its mask, bool [h, w]
    size: tuple[int, int]  # height and width of the mask to save


def episodes(manifest: str | Path, images: str | Path, masks: str | Path) -> Iterator[Episode]:
    """Yields the episodes; ``images`` holds ID.jpg, ``masks`` ID.png with class indices (255: ignored)."""
    content = Path(manifest).read_bytes()
    content = json.loads(gzip.decompress(content) if str(manifest).endswith(".gz") else content)
    for number, episode in enumerate(content["episodes"]):
        value, supports = content["class_ids"][episode["class"]], []
        for name in episode["supports"]:
            mask = np.asarray(Image.open(f"{masks}/{name}.png"))
            supports.append((np.asarray(Image.open(f"{images}/{name}.jpg").convert("RGB")), mask == value))
        query = np.asarray(Image.open(f"{images}/{episode['query']}.jpg").convert("RGB"))
        yield Episode(number, query, supports, (400, 400) if content["scoring"] == "400 x 400" else query.shape[:2])


def save(folder: str | Path, episode: Episode, mask: np.ndarray) -> None:
    """Saves a predicted mask, bool [h, w], as 000000.png and so on, at the size at which it is scored.

    A resized mask is not the mask of resized logits: a network should resize its logits to ``size`` and then threshold.
    """
    height, width = episode.size
    scaled = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.NEAREST)
    Path(folder).mkdir(parents=True, exist_ok=True)
    scaled.save(f"{folder}/{episode.number:06d}.png")
