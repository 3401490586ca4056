"""Masks and maps made visible: overlays on photographs, and a sheet of episodes (NumPy and Pillow)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from mmnet_jax.episode import IGNORE

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Dataset
    from mmnet_jax.evaluation.runner import Result

FOREGROUND = (230, 60, 40)
TRUTH = (60, 170, 90)
SUPPORT = (250, 200, 40)
UNKNOWN = (255, 255, 255)

TILE, GAP, HEADER, MARGIN, CAPTION = 150, 6, 22, 96, 36
"""Of a sheet of episodes, pixels; the last is the height of a row's caption."""
THINNEST = 8
"""Shorter side of a tile whose picture is very long, pixels."""
MOST_SUPPORTS = 5

# Dark to light, evenly spaced; lightness rises all the way, so that it reads in grey too.
_HEAT = np.array([(10, 8, 40), (80, 20, 110), (180, 50, 90), (240, 130, 50), (255, 240, 170)], np.float64)


def resize_map(values: Float[np.ndarray, "h_in w_in"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Align-corners bilinear resize of one map on the host, to any size without compiling for it."""
    for axis, target in enumerate(size):
        source = values.shape[axis]
        numerator = np.arange(target) * (source - 1)
        steps = max(target - 1, 1)
        below = numerator // steps
        fraction = (numerator % steps / steps).astype(values.dtype)
        low = np.take(values, below, axis)
        high = np.take(values, np.minimum(below + 1, source - 1), axis)
        values = low + (fraction[:, None] if axis == 0 else fraction[None, :]) * (high - low)
    return values


def outline(mask: Bool[np.ndarray, "h w"], width: int = 1) -> Bool[np.ndarray, "h w"]:
    """The mask's pixels within ``width`` pixels of its edge; the picture's border is no edge."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    colour: tuple[int, int, int] = FOREGROUND,
    opacity: float = 0.45,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with the mask tinted and outlined.

    Args:
      image: RGB.
      mask: True where to tint.
      colour: RGB of the tint.
      opacity: of the tint, from 0 (outline alone) to 1.
    """
    values = np.arange(256)[:, None]
    tinted = (values + opacity * (np.asarray(colour) - values)).round().astype(np.uint8)  # a table: pictures are large
    out = image.copy()
    for channel in range(3):
        np.copyto(out[..., channel], tinted[:, channel][image[..., channel]], where=mask)
    out[outline(mask, max(1, round(max(mask.shape) / 300)))] = colour
    return out


def fit_picture(picture: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "h_out w_out 3"]:
    """The picture scaled to a longer side of ``side`` pixels, the shorter one at least ``THINNEST``."""
    size = fit_size(picture.shape[:2], side)
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC, reducing_gap=3.0))


def fit_mask(mask: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "h_out w_out"]:
    """The mask scaled likewise. A pixel that any of the mask falls into is True, so that nothing small is lost."""
    size = fit_size(mask.shape, side)
    values = Image.fromarray(mask.astype(np.float32))
    return np.asarray(values.resize(size[::-1], Image.Resampling.BOX)) > 0


def fit_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width with a longer side of ``side`` pixels, the shorter one at least ``THINNEST``."""
    height, width = (max(THINNEST, round(length * side / max(size))) for length in size)
    return height, width


def heat(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours from dark (0) to light (1)."""
    at = np.clip(values, 0, 1).ravel()
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(at, stops, channel) for channel in _HEAT.T]
    return np.stack(channels, axis=-1).reshape(*values.shape, 3).round().astype(np.uint8)


def episode_sheet(result: Result, dataset: Dataset) -> UInt8[np.ndarray, "h w 3"]:
    """One row for each sample of a result, from its supports with their masks to a few activation maps.

    Prediction, confidence and activations are those of the trained head. An activation's number is its embedding's;
    ``telling_activations`` says which are shown.
    """
    rows, captions = [], []
    for sample in result.samples:
        spec = result.manifest.episodes[sample.episode]
        supports = [dataset.test.read(position) for position in spec.supports[:MOST_SUPPORTS]]
        image, mask = dataset.test.read(spec.query)
        query, predicted = fit_picture(image, TILE), fit_mask(sample.predicted, TILE)
        truth = query.copy()
        truth[fit_mask(mask == IGNORE, TILE)] = UNKNOWN
        truth = overlay(truth, fit_mask(mask == spec.class_id, TILE), TRUTH)
        maps = [heat(_fit_map(values, mask.shape)) for values in (sample.confidence, *sample.activations)]
        maps[1:] = [_numbered(tile, number) for tile, number in zip(maps[1:], sample.embeddings, strict=True)]
        rows.append(
            [
                overlay(fit_picture(picture, TILE), fit_mask(label == spec.class_id, TILE), SUPPORT, 0.2)
                for picture, label in supports
            ]
            + [query, truth, overlay(query, predicted), *maps]
        )
        intersection, union = result.intersection[sample.episode, 1], result.union[sample.episode, 1]
        captions.append(f"{dataset.class_names[spec.class_id]}\nIoU {100 * intersection / max(union, 1):.0f}")
    columns = ["query", "truth", "prediction", "confidence"] + ["activation"] * len(result.samples[0].embeddings)
    return _table(rows, captions, ["support"] * (len(rows[0]) - len(columns)) + columns)


def _fit_map(values: Float[np.ndarray, "grid grid"], size: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    """A map over a padded query, without the padding, as a tile of a picture of this size."""
    height, width = fit_size(size, TILE)
    return resize_map(values, (TILE, TILE))[:height, :width]


def _numbered(tile: UInt8[np.ndarray, "h w 3"], number: int) -> UInt8[np.ndarray, "h w 3"]:
    """With the number in its upper left corner."""
    image = Image.fromarray(tile)
    font = ImageFont.load_default(13)
    ImageDraw.Draw(image).text((4, 2), f"#{number}", "white", font, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def _table(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]], captions: Sequence[str], columns: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """Tiles in equal columns, captions at the left, names above; a row is as high as its highest tile."""
    tops = HEADER + np.cumsum([0] + [max(CAPTION, *(len(tile) for tile in row)) + GAP for row in rows])
    sheet = Image.new("RGB", (MARGIN + len(columns) * (TILE + GAP), int(tops[-1])), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for c, name in enumerate(columns):
        draw.text((MARGIN + c * (TILE + GAP), 3), name, "black", font)
    for top, row, caption in zip(tops, rows, captions, strict=False):
        draw.multiline_text((4, top), caption, "black", font)
        for c, tile in enumerate(row):
            sheet.paste(Image.fromarray(tile), (MARGIN + c * (TILE + GAP), int(top)))
    return np.asarray(sheet)


def png_bytes(picture: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """A grey or RGB picture as a PNG file's content."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
