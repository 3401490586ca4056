"""Masks and maps drawn on images, images scaled to tiles, and PNG files (NumPy and Pillow)."""

import io

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

RGB = UInt8[np.ndarray, "h w 3"]
Mask = Bool[np.ndarray, "h w"]
FOREGROUND = (230, 60, 40)
TRUTH = (60, 170, 90)
SUPPORT = (250, 200, 40)
MIN_SIDE = 8
"""Least length of the shorter side of a tile, in pixels."""

# From dark to light, evenly spaced; lightness increases throughout, so the map is also readable in grey.
_HEAT = np.array([(10, 8, 40), (80, 20, 110), (180, 50, 90), (240, 130, 50), (255, 240, 170)], np.float64)


def png_bytes(image: UInt8[np.ndarray, "h w *c"], **options: int) -> bytes:
    """The bytes of a PNG file of a grey or RGB image; ``options`` are Pillow's, such as ``compress_level``."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def overlay(image: RGB, mask: Mask, colour: tuple[int, int, int] = FOREGROUND, opacity: float = 0.45) -> RGB:
    """The image with the mask tinted and outlined; ``opacity`` of the tint is 0 (outline only) to 1."""
    values = np.arange(256)[:, None]
    tinted = (values + opacity * (np.asarray(colour) - values)).round().astype(np.uint8)  # a lookup table is faster
    out = image.copy()
    for channel in range(3):
        np.copyto(out[..., channel], tinted[:, channel][image[..., channel]], where=mask)
    out[outline(mask, max(1, round(max(mask.shape) / 300)))] = colour
    return out


def outline(mask: Mask, width: int = 1) -> Mask:
    """The mask's pixels within ``width`` pixels of its edge; the border of the image is not an edge."""
    inner = mask
    for _ in range(width):
        padded = np.pad(inner, 1, mode="edge")
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def heat(values: Float[np.ndarray, "h w"]) -> RGB:
    """A map in [0, 1] in colours from dark (0) to light (1)."""
    at, stops = np.clip(values, 0, 1), np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(at, stops, channel) for channel in _HEAT.T], axis=-1).round().astype(np.uint8)


def fit_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width scaled so that the longer side is ``side`` pixels and the shorter one at least ``MIN_SIDE``."""
    height, width = (max(MIN_SIDE, round(length * side / max(size))) for length in size)
    return height, width


def fit_image(image: RGB, side: int) -> UInt8[np.ndarray, "h_out w_out 3"]:
    """The image scaled to ``fit_size``."""
    size = fit_size(image.shape[:2], side)
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC, reducing_gap=3.0))


def fit_mask(mask: Mask, side: int) -> Bool[np.ndarray, "h_out w_out"]:
    """The mask scaled to ``fit_size``; a pixel is True if any of the mask falls into it, so small objects remain."""
    size = fit_size(mask.shape, side)
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)) > 0


def support_tile(image: RGB, mask: Mask, side: int) -> UInt8[np.ndarray, "h_out w_out 3"]:
    """A support image for a sheet: the mask tinted, the rest darkened, so that an inverted mask is obvious."""
    fitted, shown = fit_image(image, side), fit_mask(mask, side)
    return overlay(np.where(shown[..., None], fitted, fitted // 5 * 2), shown, SUPPORT, 0.4)
