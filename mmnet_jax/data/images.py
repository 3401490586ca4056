"""Decoding of image files and users' images to 8-bit RGB, with errors that name the file and its fault."""

import functools
import importlib
import io
import os
import re
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps

from mmnet_jax.errors import UserError

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray
"""A user's own image: a path, a PIL image, or a uint8 array [h, w], [h, w, 3] or [h, w, 4]."""

# Pillow's errors, which depend on the format, on a broken file and on a file that is not an image.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, RuntimeError, struct.error, zlib.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
# Pillow warns at half the size that it refuses; such an image is read.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

UNREADABLE = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC, which the package pillow-heif reads: pip install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF, which newer releases of Pillow read: pip install --upgrade pillow"),
}
"""Suffix of a format that needs another package -> the format, and how to install the package."""
_HEIF_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1")
_NO_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""Formats that Pillow identifies but cannot decode."""


class Upright(NamedTuple):
    """An image with its EXIF orientation applied."""

    pixels: UInt8[np.ndarray, "h w 3"]
    orientation: int
    """EXIF's number: 1 is stored upright, 2 to 4 keep the size, 5 to 8 swap width and height."""


def decode_image(data: bytes, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels, read-only, of an encoded image, without its EXIF orientation.

    Raises:
      UserError: ``name`` is broken or not an image.
    """
    return _rgb(open_image(data, name), name)


def decode_upright(data: bytes, name: str) -> Upright:
    """``decode_image`` with the EXIF orientation applied."""
    image, orientation = orient(open_image(data, name), name)
    return Upright(_rgb(image, name), orientation)


def read_image(source: ImageSource) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a user's own image, with its EXIF orientation applied.

    Grey, palette, CMYK, 16-bit and transparent images become 8-bit RGB; transparency is dropped, and 16-bit images are
    scaled by the number of bits that their largest value needs.

    Raises:
      UserError: a file is missing, broken, too large or not an image, or an array has another shape or type.
    """
    return read_upright(source).pixels


def read_upright(source: ImageSource) -> Upright:
    """``read_image`` and the orientation that was applied (1 for an array)."""
    if not isinstance(source, np.ndarray):
        image, name = load_image(source, "the image")
        image, orientation = orient(image, name)
        return Upright(_rgb(image, name).copy(), orientation)
    if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (3, 4))):
        kind = f"{source.dtype} {list(source.shape)}"
        raise UserError(f"an image array must be uint8 [h, w, 3], [h, w, 4] or [h, w], but this one is {kind}.")
    if 0 in source.shape:
        raise UserError(f"an image array of shape {list(source.shape)} holds no pixels.")
    grey = source.ndim == 2
    return Upright(np.repeat(source[..., None], 3, axis=-1) if grey else np.ascontiguousarray(source[..., :3]), 1)


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """Suffixes, lower case and with the dot, of all formats that can be decoded here."""
    _register_heif()
    Image.init()
    formats = {*Image.OPEN, "MPO"} - _NO_PIXELS  # MPO files are opened as JPEG
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in formats)


def load_image(source: str | os.PathLike[str] | Image.Image, name: str) -> tuple[Image.Image, str]:
    """The image as stored, and its name for messages: its file, or ``name``."""
    if isinstance(source, Image.Image):
        if 0 in source.size:
            raise UserError(f"{name} holds no pixels.")
        return source, name
    name = os.fspath(source)
    try:
        return open_image(Path(name).read_bytes(), name), name
    except FileNotFoundError:
        raise UserError(f"{name} does not exist.") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror or error}.") from None


def orient(image: Image.Image, name: str) -> tuple[Image.Image, int]:
    """The image with its EXIF orientation applied, and the orientation."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if orientation not in range(2, 9):
            return image, 1
        upright = ImageOps.exif_transpose(image)
    except _BROKEN as error:
        raise UserError(f"{name} has broken EXIF data ({error}).") from None
    upright.format = image.format
    return upright, orientation


def open_image(data: bytes, name: str) -> Image.Image:
    """The first frame of an encoded image, decoded at once, since Pillow's lazy reading finds a truncated file later.

    Raises:
      UserError: ``name`` is broken, too large or not an image.
    """
    _register_heif()
    try:
        image = Image.open(io.BytesIO(data))
        sixteen_bits = ";16" in str(image.tile)
        image.load()
    except _TOO_LARGE as error:
        found, limit = (f"{int(number):,}" for number in re.findall(r"\d+", str(error))[:2])
        raise UserError(f"{name} has {found} pixels, and at most {limit} are read; scale it down.") from None
    except Image.UnidentifiedImageError:
        raise UserError(f"{name} is {_unidentified(data)}.") from None
    except _BROKEN as error:
        raise UserError(f"{name} is broken and cannot be decoded ({error}).") from None
    if sixteen_bits and image.mode in ("RGB", "RGBA", "LA"):
        colours = np.asarray(image)[..., : len(image.mode.rstrip("A"))]
        if colours.max() < 64:
            found = "has 16 bits a channel but only small values, of which Pillow drops the lower 8 bits"
            raise UserError(f"{name} {found}; scale it to 8 bits.")
    return image


@functools.cache
def _register_heif() -> None:
    """Makes Pillow read HEIF files if the package pillow-heif is installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def _unidentified(data: bytes) -> str:
    """The end of a sentence "FILE is ..." about data that Pillow cannot identify."""
    brand = data[8:12].decode("latin-1") if data[4:8] == b"ftyp" else ""
    suffix = ".heic" if brand in _HEIF_BRANDS else ".avif" if brand in ("avif", "avis") else ""
    if suffix in readable_suffixes():
        return "broken and cannot be decoded"
    return f"{UNREADABLE[suffix]}, or save the image as JPEG" if suffix else "not an image"


def _rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit grey at 255. Cameras and scanners use 10, 12 or 14 bits.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError(f"{name} has more than 16 bits a pixel; convert it to 8 or 16.")
        unused = max(0, int(values.max()).bit_length() - 8)
        return np.repeat((values >> unused).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise UserError(f"{name} has floating-point pixels; convert it to 8 or 16 bits.")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
