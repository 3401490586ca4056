"""Images of every kind as 8-bit RGB, and masks as indices; a broken file is named in one sentence."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.Image import DecompressionBombError

from mmnet_jax.errors import UserError

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray
"""A user's own image: a path, a PIL image, or a uint8 array [h, w], [h, w, 3] or [h, w, 4]."""

# What Pillow raises, depending on the format, for a file that is broken or is no image at all.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error, DecompressionBombError)


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of an encoded image as they are stored; a ``UserError`` calls one that is broken or none ``name``."""
    return _rgb(_open(data, name), name)


def decode_mask(data: bytes, name: str) -> UInt8[np.ndarray, "h w"]:
    """Indices of an encoded mask, not the colours of its palette, or its grey values; a ``UserError`` if in colour."""
    return _indices(_open(data, name), name)


def read_image(source: ImageSource) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a user's own image, turned as its EXIF orientation says.

    Grey, palette, CMYK, 16-bit and transparent images become 8-bit RGB; transparency is dropped. A ``UserError`` names
    a file that is missing, broken or no image, or tells an array's wrong shape or type.
    """
    if not isinstance(source, np.ndarray):
        return _rgb(*_load(source, "the image"))
    if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (3, 4))):
        kind = f"{source.dtype} {list(source.shape)}"
        raise UserError(f"an image array must be uint8 [h, w, 3], [h, w, 4] or [h, w], but this one is {kind}.")
    if 0 in source.shape:
        raise UserError(f"an image array of shape {list(source.shape)} holds no pixels.")
    return np.repeat(source[..., None], 3, axis=-1) if source.ndim == 2 else np.ascontiguousarray(source[..., :3])


def read_mask(source: ImageSource) -> UInt8[np.ndarray, "h w"]:
    """Indices (or grey values) of a user's own mask (an array is uint8 or bool), turned as its EXIF orientation says.

    Of a mask painted in colour it is the largest of the three channels, so that black alone is 0. Errors are those of
    ``read_image``.
    """
    if not isinstance(source, np.ndarray):
        return _indices(*_load(source, "the mask"), colour=True)
    if source.dtype not in (np.uint8, np.bool_) or source.ndim != 2 or 0 in source.shape:
        raise UserError(f"a mask array must be uint8 [h, w], but this one is {source.dtype} {list(source.shape)}.")
    return source.astype(np.uint8)


def _load(source: str | os.PathLike[str] | Image.Image, name: str) -> tuple[Image.Image, str]:
    """The upright image, and what a message should call it: its file, or ``name``."""
    if not isinstance(source, Image.Image):
        name = os.fspath(source)
        try:
            source = _open(Path(name).read_bytes(), name)
        except FileNotFoundError:
            raise UserError(f"{name} does not exist.") from None
        except OSError as error:
            raise UserError(f"{name} cannot be read: {error.strerror or error}.") from None
    try:
        return ImageOps.exif_transpose(source), name
    except _BROKEN as error:
        raise UserError(f"{name} has broken EXIF data ({error}).") from None


def _open(data: bytes, name: str) -> Image.Image:
    """The whole image, decoded: Pillow reads lazily and would find a truncated file only later."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Image.UnidentifiedImageError:
        raise UserError(f"{name} is not an image.") from None
    except _BROKEN as error:
        raise UserError(f"{name} is broken and cannot be decoded ({error}).") from None
    return image


def _rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow would clip at 255 instead of scaling.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{name} has more than 16 bits a pixel; convert it to 8 or 16.")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise UserError(f"{name} has floating-point pixels; convert it to 8 or 16 bits.")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _indices(image: Image.Image, name: str, colour: bool = False) -> np.ndarray:
    if image.mode in ("1", "P", "L", "LA", "PA"):
        values = np.array(image).astype(np.uint8)
        return values if values.ndim == 2 else np.ascontiguousarray(values[..., 0])
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8)
        raise UserError(f"{name} holds values from {values.min()} to {values.max()}; a mask's are 0 to 255.")
    pixels = np.asarray(image.convert("RGB"))
    if colour or (pixels[..., :1] == pixels[..., 1:]).all():
        return pixels.max(axis=-1)
    raise UserError(f"{name} is in colour; a mask has one channel (indices or grey values).")
