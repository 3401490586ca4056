"""A sheet of evaluated episodes: supports, query, truth, prediction and the maps behind it."""

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.images import RGB, TRUTH, fit_image, fit_mask, fit_size, heat, overlay, support_tile
from mmnet_jax.drawing.page import Page
from mmnet_jax.evaluation.result import Result
from mmnet_jax.labels import IGNORE

TILE, GAP, HEADER, MARGIN, CAPTION = 150, 6, 22, 96, 36
"""A tile's longer side, the gap between tiles, the header, and the captions' width and height, pixels."""
MOST_SUPPORTS = 5
SAMPLES = 12
"""Episodes on the sheet."""


def episode_sheet(result: Result, dataset: Dataset) -> UInt8[np.ndarray, "h w 3"]:
    """One row for each sample of a result, from its supports with their masks to a few activation maps.

    Prediction, confidence and activations are the trained head's. An activation's number is its embedding's;
    ``top_activations`` chooses which are shown. A head without confidence or memory has no such columns.
    """
    first = result.samples[0]
    maps = ["confidence"] * (first.confidence is not None) + ["activation"] * len(first.embeddings)
    shown = min(result.manifest.shots, MOST_SUPPORTS)
    columns = ["support"] * shown + ["query", "truth", "prediction"] + maps
    page = Page(MARGIN + len(columns) * (TILE + GAP))
    for c, name in enumerate(columns):
        page.text(MARGIN + c * (TILE + GAP), name, down=3)
    page.top += HEADER
    specs = result.manifest.specs(dataset)
    for sample in result.samples:
        spec = specs[sample.episode]
        supports = [dataset.test.read(position, spec.class_id) for position in spec.supports[:shown]]
        image, truth = dataset.test.read(spec.query, spec.class_id)
        tiles = [support_tile(support, label == 1, TILE) for support, label in supports]
        tiles += query_tiles(image, truth, sample.predicted, TILE)
        whole = sample.predicted.shape != truth.shape  # scored in a square, to which the whole image was squashed
        if sample.confidence is not None:
            tiles.append(map_tile(sample.confidence, truth.shape, TILE, whole))
        for number, values in zip(sample.embeddings, sample.activations, strict=True):
            page.text(MARGIN + len(tiles) * (TILE + GAP) + 4, f"#{number}", "white", down=2, stroke=2)
            tiles.append(map_tile(values, truth.shape, TILE, whole))
        for c, tile in enumerate(tiles):
            page.tile(MARGIN + c * (TILE + GAP), tile)
        intersection, union = result.intersection[sample.episode, 1], result.union[sample.episode, 1]
        page.text(4, f"{dataset.class_names[spec.class_id]}\nIoU {100 * intersection / max(union, 1):.0f}")
        page.top += max(CAPTION, *map(len, tiles)) + GAP
    return page.pixels()


def query_tiles(
    image: RGB, truth: UInt8[np.ndarray, "h w"], predicted: Bool[np.ndarray, "m n"], side: int
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """A query alone, with its ground truth (white where it is unknown), and with the mask predicted for it.

    The mask may be of another size: where it was scored in a square, to which the whole image was squashed.
    """
    query = fit_image(image, side)
    known = query.copy()
    known[fit_mask(truth == IGNORE, side)] = 255
    y, x = (np.arange(n) * m // n for n, m in zip(truth.shape, predicted.shape, strict=True))
    return [
        query,
        overlay(known, fit_mask(truth == 1, side), TRUTH),
        overlay(query, fit_mask(predicted[y][:, x], side)),
    ]


def spread_over_classes(class_ids: Integer[np.ndarray, " e"], count: int) -> set[int]:
    """About ``count`` episodes, as many of each class, evenly over its episodes (fewer where it has fewer)."""
    taken: set[int] = set()
    classes = np.unique(class_ids)
    for c, part in zip(classes, np.array_split(np.arange(count), len(classes)), strict=True):
        own = np.flatnonzero(class_ids == c)
        taken.update(own[np.linspace(0, len(own) - 1, len(part)).round().astype(int)].tolist())
    return taken


def map_tile(
    values: Float[np.ndarray, "grid grid"], size: tuple[int, ...], side: int, whole: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """A map in [0, 1] over an image of this size: over all of it, or with padding right or below, which is cut off."""
    from mmnet_jax.ops.resize import resize_on_host  # imports jax, which a sheet without maps does not need

    height, width = fit_size(size, side)
    return heat(resize_on_host(values, (height, width) if whole else (side, side))[:height, :width])
