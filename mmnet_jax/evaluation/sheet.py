"""A sheet of evaluated episodes: supports, query, ground truth, prediction, confidence map and activation maps."""

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.images import RGB, TRUTH, fit_image, fit_mask, fit_size, heat, overlay, support_tile
from mmnet_jax.drawing.page import Page
from mmnet_jax.evaluation.result import Result
from mmnet_jax.labels import IGNORE

TILE, GAP, HEADER, MARGIN, CAPTION = 150, 6, 22, 96, 36
"""Longer side of a tile, gap between tiles, height of the header, width and height of captions, in pixels."""
MAX_SUPPORTS = 5
"""Number of supports shown of an episode."""
SAMPLES = 12
"""Number of episodes on the sheet."""


def episode_sheet(result: Result, dataset: Dataset) -> UInt8[np.ndarray, "h w 3"]:
    """One row for each sample of a result, from its supports with their masks to a few activation maps.

    Prediction and maps are the trained head's. The number on an activation map is the index of its embedding;
    ``top_activations`` selects them. A head without a confidence map or a memory has no such columns.
    """
    first = result.samples[0]
    maps = ["confidence"] * (first.confidence is not None) + ["activation"] * len(first.embeddings)
    shown = min(result.manifest.shots, MAX_SUPPORTS)
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
        whole = sample.predicted.shape != truth.shape  # the image was squashed to a square, so there is no padding
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
    """A query image alone, with its ground truth (white where ignored), and with the predicted mask.

    The mask may be of another size, that of a square to which the image was squashed for scoring.
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
    """About ``count`` episodes, equally many of each class if it has enough, spaced evenly over its episodes."""
    taken: set[int] = set()
    classes = np.unique(class_ids)
    for c, part in zip(classes, np.array_split(np.arange(count), len(classes)), strict=True):
        of_class = np.flatnonzero(class_ids == c)
        taken.update(of_class[np.linspace(0, len(of_class) - 1, len(part)).round().astype(int)].tolist())
    return taken


def map_tile(
    values: Float[np.ndarray, "grid grid"], size: tuple[int, ...], side: int, whole: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """A map in [0, 1] in colours, at the size of an image's tile: ``whole``, or without the padding right and below."""
    from mmnet_jax.ops.resize import resize_on_host  # imports jax, which a sheet without maps does not need

    height, width = fit_size(size, side)
    return heat(resize_on_host(values, (height, width) if whole else (side, side))[:height, :width])
