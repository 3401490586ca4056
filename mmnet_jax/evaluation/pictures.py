"""Masks and maps made visible: overlays on photographs, and a sheet of episodes (NumPy and Pillow)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from mmnet_jax.data import Dataset
    from mmnet_jax.evaluation.evaluating import Result

FOREGROUND = (230, 60, 40)
TRUTH = (60, 170, 90)
SUPPORT = (250, 200, 40)
UNKNOWN = (255, 255, 255)

TILE, GAP, HEADER, MARGIN = 150, 6, 22, 96
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
    tint = np.asarray(colour)
    out = image.astype(np.float64)
    out[mask] += opacity * (tint - out[mask])
    out[outline(mask, max(1, round(max(mask.shape) / 300)))] = tint
    return out.round().astype(np.uint8)


def heat(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colours from dark (0) to light (1)."""
    at = np.clip(values, 0, 1).ravel()
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(at, stops, channel) for channel in _HEAT.T]
    return np.stack(channels, axis=-1).reshape(*values.shape, 3).round().astype(np.uint8)


def episode_sheet(result: Result, dataset: Dataset) -> UInt8[np.ndarray, "h w 3"]:
    """One row for each sample of a result: supports with their masks, query, truth, prediction, confidence."""
    rows, captions = [], []
    for sample in result.samples:
        spec = result.manifest.episodes[sample.episode]
        supports = [dataset.test.read(position) for position in spec.supports[:MOST_SUPPORTS]]
        image, mask = dataset.test.read(spec.query)
        truth = overlay(image, mask == spec.class_id, TRUTH)
        truth[mask == 255] = UNKNOWN
        confidence = resize_map(sample.confidence, (max(mask.shape),) * 2)[: mask.shape[0], : mask.shape[1]]
        rows.append(
            [overlay(picture, label == spec.class_id, SUPPORT, 0.2) for picture, label in supports]
            + [image, truth, overlay(image, sample.predicted), heat(confidence)]
        )
        intersection, union = result.intersection[sample.episode, 1], result.union[sample.episode, 1]
        captions.append(f"{dataset.class_names[spec.class_id]}\nIoU {100 * intersection / max(union, 1):.0f}")
    columns = ["support"] * (len(rows[0]) - 4) + ["query", "truth", "prediction", "confidence"]
    return _table(rows, captions, columns)


def _table(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]], captions: Sequence[str], columns: Sequence[str]
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of any sizes in equal tiles, captions at the left, names above."""
    width = MARGIN + len(columns) * (TILE + GAP)
    sheet = Image.new("RGB", (width, HEADER + len(rows) * (TILE + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for c, name in enumerate(columns):
        draw.text((MARGIN + c * (TILE + GAP), 3), name, "black", font)
    for r, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        top = HEADER + r * (TILE + GAP)
        draw.multiline_text((4, top), caption, "black", font)
        for c, picture in enumerate(row):
            tile = Image.fromarray(picture)
            scale = TILE / max(tile.size)
            tile = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))))
            sheet.paste(tile, (MARGIN + c * (TILE + GAP), top))
    return np.asarray(sheet)


def png_bytes(picture: UInt8[np.ndarray, "h w *c"]) -> bytes:
    """A grey or RGB picture as a PNG file's content."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()
