"""Two predictors that segment a manifest's episodes with neither jax nor this package.

``python tests/evaluation/predictors.py pasted_box MANIFEST IMAGES MASKS OUTPUT`` (or ``colours``) writes one mask for
each episode; IMAGES contains ID.jpg, and MASKS contains ID.png with class indices, as in VOC.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

sys.path.append(str(Path(__file__).parents[2] / "docs"))
from iterate_manifest import Episode, episodes, save

BITS = 3
"""Bits of each colour channel in a histogram."""


def pasted_box(episode: Episode) -> np.ndarray:
    """The bounding box of the support's mask at the same place of the query, the mean box of several supports."""
    boxes = []
    for _, mask in episode.supports:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        box = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        boxes.append(np.array(box) / np.repeat(mask.shape, 2))
    height, width = episode.query.shape[:2]
    top, bottom, left, right = (np.mean(boxes, axis=0) * (height, height, width, width)).round().astype(int)
    found = np.zeros((height, width), bool)
    found[top:bottom, left:right] = True
    return found


def colours(episode: Episode) -> np.ndarray:
    """The query's pixels whose colours are likelier in the supports' foreground than background, smoothed."""

    def bins(image: np.ndarray) -> np.ndarray:
        return (image >> (8 - BITS)).astype(int) @ (1, 1 << BITS, 1 << 2 * BITS)

    counts = np.ones((2, 1 << 3 * BITS))
    for image, mask in episode.supports:
        np.add.at(counts, (mask.astype(int), bins(image)), 1)
    background, foreground = counts / counts.sum(axis=1, keepdims=True)
    likely = (255 * foreground / (background + foreground)).astype(np.uint8)[bins(episode.query)]
    return np.asarray(Image.fromarray(likely).filter(ImageFilter.BoxBlur(8))) > 127


PREDICTORS = {"pasted_box": pasted_box, "colours": colours}


def predict(name: str, manifest: str | Path, images: str | Path, masks: str | Path, output: str | Path) -> None:
    """Writes the masks of all episodes to the folder ``output``."""
    for episode in episodes(manifest, images, masks):
        save(output, episode, PREDICTORS[name](episode))


if __name__ == "__main__":
    predict(*sys.argv[1:])
