"""Masks: class indices of datasets' masks, and the foreground of users' own masks."""

import functools

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from mmnet_jax.data.images import ImageSource, load_image, open_image, orient
from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

_PALETTE = {"P", "PA"}
_ONE_CHANNEL = {"1", "L", "LA", "F", "I", "I;16", "I;16L", "I;16B", "I;16N", *_PALETTE}
"""Pillow's modes of one channel, with or without alpha."""
_MAX_FLAT_COLOURS = 16
"""Maximum number of colours of a mask with hard edges; smooth or lossily compressed edges add colours."""
_BITS = np.arange(256)[:, None] >> np.arange(9) & 1
_VOC_PALETTE = np.stack([_BITS[:, channel::3] @ [128, 64, 32] for channel in range(3)], axis=1)
"""VOC's colours: bits 0, 1, 2 of an index are the highest bits of red, green and blue, bits 3, 4, 5 the next."""
_MIN_SMOOTH_GREY = 32
"""Grey values from here to 254 come from smooth or lossily compressed edges; they are not class indices."""


def decode_mask(data: bytes, name: str) -> UInt8[np.ndarray, "h w"]:
    """Class indices, read-only, of a dataset's encoded mask, with its EXIF orientation applied.

    Raises:
      UserError: ``name`` is broken, in colour or a JPEG, or its palette has VOC's colours at other indices.
    """
    image, _ = orient(open_image(data, name), name)
    values = _indices(image, name)
    if image.mode == "1":
        values = values * 255  # black and white, not class 1
    if values.dtype != np.uint8 and (values.min() < 0 or values.max() > 255):
        raise UserError(f"{name} holds values from {values.min()} to {values.max()}; masks hold 0 to 255.")
    indices = values.astype(np.uint8, copy=False)
    if image.mode == "P":
        _check_palette(indices, image, name)
    return indices


def decode_stored(data: bytes, name: str) -> np.ndarray:
    """The stored values [h, w] of an encoded mask: palette indices, or each pixel's largest channel without alpha.

    Raises:
      UserError: ``name`` is broken, or a JPEG.
    """
    image, _ = orient(open_image(data, name), name)
    if image.format in ("JPEG", "MPO"):
        raise UserError(f"{name} is a JPEG image, which blurs the edges of a mask; save masks as PNG.")
    values = np.asarray(image)
    return values if values.ndim == 2 else values[..., : len(image.mode.rstrip("Aa"))].max(axis=-1)


def count_classes(
    indices: UInt8[np.ndarray, "h w"], classes: int, name: str, may_be_empty: bool = False
) -> Int[np.ndarray, " classes"]:
    """Pixels of each class, 0 the background, in a mask of indices below ``classes`` and 255 (ignore).

    Raises:
      UserError: ``name`` holds other indices, or no class unless it ``may_be_empty``.
    """
    counts = np.bincount(indices.ravel(), minlength=IGNORE + 1)
    unknown = np.flatnonzero(counts[classes:IGNORE]) + classes
    if unknown.size:
        raise UserError(f"{name} holds index {unknown[0]}; its classes are 0 to {classes - 1}, and 255 is ignored.")
    if not may_be_empty and not counts[1:classes].any():
        found = " and ".join(map(str, np.flatnonzero(counts)))
        meaning = f"it holds only {found}, where 0 is the background and 255 is ignored"
        advice = f"write the index of each pixel's class, {f'1 to {classes - 1}' if classes > 2 else '1'}"
        raise UserError(f"{name} shows no class: {meaning}; {advice}.")
    return counts[:classes].astype(np.int64)


def check_size(mask: tuple[int, ...], name: str, image: tuple[int, ...], image_name: str, orientation: int = 1) -> None:
    """Raises a ``UserError`` unless mask and upright image have the same height and width.

    ``orientation`` is ``Upright.orientation`` of the image; the message says if the mask fits the image as stored.
    """
    if mask[:2] == image[:2]:
        return
    (height, width), (wanted_height, wanted_width) = mask[:2], image[:2]
    sentence = f"{name} is {width} x {height} pixels, but its image {image_name} is {wanted_width} x {wanted_height}"
    if orientation >= 5 and (height, width) == (wanted_width, wanted_height):
        sentence += " once its EXIF orientation is applied; rotate the mask to match"
    raise UserError(f"{sentence}.")


def read_mask(source: ImageSource, ignore: int | None = None) -> UInt8[np.ndarray, "h w"]:
    """The label of a user's own mask, with its EXIF orientation applied: 1 foreground, 0 background, 255 ignore.

    A mask is read as it looks, and black is background:

    - an alpha channel that varies is the mask;
    - grey values, or a palette of greys, are foreground where they are not 0 if there are at most two of them, or none
      from 32 to 254 (class indices); otherwise edges are smooth or lossily compressed: threshold at half of the range;
    - colours are foreground where they are not black; many colours, some nearly black, mean a smooth or lossy mask,
      which is foreground where the largest channel is at least half;
    - floating-point values, in [0, 1], are thresholded at 0.5.

    With ``ignore`` the stored values (of a palette its indices) are class indices: 0 is background, ``ignore`` becomes
    255, all others are foreground. An array is bool, integer or floating-point ``[h, w]``, or uint8 ``[h, w, 3]`` or
    ``[h, w, 4]``.

    Raises:
      UserError: the mask is missing, broken, without foreground, or of other values.
    """
    if isinstance(source, np.ndarray):
        name, image = "the mask", _array(source)
    else:
        image, name = load_image(source, "the mask")
        image, _ = orient(image, name)
        name = name if isinstance(source, Image.Image) else f"mask {name}"
    if ignore is None:
        return _by_appearance(image, name).astype(np.uint8)
    values = _indices(image if isinstance(image, np.ndarray) else _grey(image) or image, name)
    label = np.where(values == ignore, IGNORE, _not_negative(values, name) > 0).astype(np.uint8)
    if not (label == 1).any():
        raise UserError(f"{name} has no foreground: every pixel is 0 or {ignore}.")
    return label


def _array(mask: np.ndarray) -> np.ndarray | Image.Image:
    """A user's array: values ``[h, w]`` as they are, colours as an image."""
    coloured = mask.ndim == 3 and mask.shape[2] in (3, 4) and mask.dtype == np.uint8
    if 0 in mask.shape or not (coloured or (mask.ndim == 2 and mask.dtype.kind in "buif")):
        kinds = "bools, integers or floats [h, w], or uint8 [h, w, 3] or [h, w, 4]"
        raise UserError(f"a mask array must be {kinds}, but this one is {mask.dtype} {list(mask.shape)}.")
    return Image.fromarray(mask) if coloured else mask


def _indices(mask: np.ndarray | Image.Image, name: str) -> np.ndarray:
    """The stored class indices [h, w] of a mask; a ``UserError`` if it is in colour, a JPEG or of floats."""
    if isinstance(mask, Image.Image):
        if mask.mode not in _ONE_CHANNEL:
            advice = "class indices have one channel, so take one, or convert the colours to indices"
            raise UserError(f"{name} is in colour ({mask.mode}); {advice}.")
        if mask.format in ("JPEG", "MPO"):
            raise UserError(f"{name} is a JPEG image, which does not keep class indices; save masks as PNG.")
        mask = _values(mask)
    if mask.dtype.kind == "f":
        raise UserError(f"{name} has floating-point values, which are not class indices; save them as 8-bit grey.")
    return mask


def _values(image: Image.Image) -> np.ndarray:
    """The stored values [h, w] of an image in ``_ONE_CHANNEL``, without palette and alpha."""
    values = np.asarray(image)
    return values if values.ndim == 2 else values[..., 0]


def _by_appearance(mask: np.ndarray | Image.Image, name: str) -> Bool[np.ndarray, "h w"]:
    if isinstance(mask, np.ndarray):
        return _foreground(mask, name)
    if (alpha := _varying_alpha(mask)) is not None:
        return _foreground(alpha, name)
    if mask.mode in _ONE_CHANNEL - _PALETTE:
        return _foreground(_values(mask), name)
    coloured = mask.convert("RGB")
    largest = functools.reduce(np.maximum, map(np.asarray, coloured.split()))
    if not largest.any():
        advice = " in its palette; give --ignore=255 if it holds class indices" if mask.mode in _PALETTE else ""
        raise UserError(f"{name} has no foreground: every pixel is black{advice}.")
    if (grey := _grey(coloured)) is not None:
        return _foreground(_values(grey), name)
    few = coloured.getcolors(_MAX_FLAT_COLOURS) is not None
    flat = few or not ((largest > 0) & (largest < _MIN_SMOOTH_GREY)).any()
    return largest > 0 if flat else _foreground(largest, name)


def _grey(image: Image.Image) -> Image.Image | None:
    """One channel of an RGB image whose channels are equal; None of any other image."""
    if image.mode not in ("RGB", "RGBA"):
        return None
    red, green, blue = map(np.asarray, image.split()[:3])
    if not (np.array_equal(red, green) and np.array_equal(red, blue)):
        return None
    grey = image.getchannel(0)
    grey.format = image.format
    return grey


def _varying_alpha(image: Image.Image) -> np.ndarray | None:
    if not image.has_transparency_data:
        return None
    if image.mode.startswith("I"):  # Pillow would clip 16 bits before it looks for the transparent value
        alpha = np.asarray(image) != image.info["transparency"]
    else:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return alpha if alpha.min() < alpha.max() else None


def _foreground(values: np.ndarray, name: str) -> Bool[np.ndarray, "h w"]:
    """The foreground of values [h, w]; a ``UserError`` if there is none."""
    if values.dtype.kind == "f":
        if not ((values >= 0) & (values <= 1)).all():
            raise UserError(f"{name} has floating-point values outside 0 to 1; save it as 8-bit grey.")
        least: float = 0.5
    else:
        least = _least_foreground(_not_negative(values, name))
    foreground = values >= least
    if not foreground.any():
        if not values.any():
            raise UserError(f"{name} has no foreground: every pixel is 0.")
        found = f"its values reach {values.max()}, and {least} is needed"
        indices = "" if values.dtype.kind == "f" else "; give --ignore=255 if it is a grey mask of class indices"
        raise UserError(f"{name} has no foreground: {found}{indices}.")
    return foreground


def _least_foreground(values: np.ndarray) -> int:
    """The smallest foreground value of a mask of these values, none negative."""
    found = np.unique(values)
    full = 2 ** max(8, int(found[-1]).bit_length()) - 1  # 255, or what 10, 12, 14 or 16 bits reach
    between = (found >= _MIN_SMOOTH_GREY) & (found < full) & (found != IGNORE)
    return (full + 1) // 2 if found.size > 2 and between.any() else 1


def _not_negative(values: np.ndarray, name: str) -> np.ndarray:
    if values.min() < 0:
        raise UserError(f"{name} has negative values; 0 is the background, and values above 0 are foreground.")
    return values


def _check_palette(indices: UInt8[np.ndarray, "h w"], image: Image.Image, name: str) -> None:
    """Raises a ``UserError`` if a palette has the colours of VOC's classes at other indices; grey palettes pass."""
    palette = np.reshape(image.getpalette() or [], (-1, 3)).astype(int)
    used = np.unique(indices[indices < len(palette)])  # palettes may be shorter than 256
    colours = palette[used]
    classes = {tuple(colour): i for i, colour in enumerate(_VOC_PALETTE.tolist()) if i <= 20 or i == IGNORE}
    voc_indices = [classes.get(tuple(colour)) for colour in colours.tolist()]
    if None in voc_indices or (colours == colours[:, :1]).all():
        return
    for index, class_id in zip(used, voc_indices, strict=True):
        if index != class_id:
            found = f"index {index} has the colour of VOC's index {class_id}, so an editor may have renumbered them"
            advice = "take the original mask, or save it as grey if its indices are right"
            raise UserError(f"the colours and indices of {name} disagree: {found}; {advice}.")
