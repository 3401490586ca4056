"""A user's own examples of a class: pictures, each with a mask or a box that says where the class is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from ml_collections import ConfigDict

from mmnet_jax.data.images import read_image, read_mask
from mmnet_jax.data.transforms.evaluation import prepare_image, prepare_label
from mmnet_jax.drawing.pictures import fit_mask, fit_picture
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import create_backbone
from mmnet_jax.ops import resize_bilinear

DISPLAYED = 600
"""Longer side of an example's picture, pixels."""


class Box(NamedTuple):
    """Pixels of an upright picture: columns x0 to x1 - 1 from the left, rows y0 to y1 - 1 from the top."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Example(NamedTuple):
    """One labelled picture for people to look at."""

    image: str | Path
    place: str | Path | Box
    """Where the class is: a mask's file or a box."""
    picture: UInt8[np.ndarray, "h w 3"]
    """With a longer side of ``DISPLAYED`` pixels."""
    mask: Bool[np.ndarray, "h w"]
    """True where the class is, of the same size."""


class Supports(NamedTuple):
    """K labelled pictures as the network takes them, and as people see them."""

    images: Float[Array, "k s s 3"]
    labels: Int[Array, "k s s"]
    examples: tuple[Example, ...] = ()


def parse_box(text: str) -> Box:
    """The box that ``x0,y0,x1,y1`` names.

    Raises:
      UserError: if that is not four whole numbers.
    """
    numbers = text.split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*[+-]?[0-9]+\s*", number) for number in numbers):
        raise UserError(f"box {text!r} is not four whole numbers x0,y0,x1,y1.")
    return Box(*map(int, numbers))


def box_label(box: Box, size: tuple[int, int], image: str | Path = "its picture") -> UInt8[np.ndarray, "h w"]:
    """The label of a picture whose object fills a box: 1 inside, 0 outside.

    Args:
      box: pixels of the upright picture; at least one, all of them inside the picture.
      size: the picture's height and width.
      image: what a message should call the picture.

    Raises:
      UserError: naming the box, if it is empty, reversed or not inside the picture.
    """
    height, width = size
    for axis, first, end in (("x", box.x0, box.x1), ("y", box.y0, box.y1)):
        if end == first:
            raise UserError(f"box {box} is empty: {axis}1, the first pixel outside, must be larger than {axis}0.")
        if end < first:
            raise UserError(
                f"box {box} is reversed: {axis}1 must be larger than {axis}0 "
                "(a box is two corners x0,y0,x1,y1, not a corner and a size)."
            )
    if min(box) < 0 or box.x1 > width or box.y1 > height:
        raise UserError(f"box {box} is not inside {image}, which is {width} x {height} pixels.")
    label = np.zeros(size, np.uint8)
    label[box.y0 : box.y1, box.x0 : box.x1] = 1
    return label


def read_supports(
    images: Sequence[str | Path], places: Sequence[str | Path | Box], config: ConfigDict, ignore: int | None = None
) -> Supports:
    """Reads the pictures that show a class, and where they show it.

    Args:
      images: files.
      places: for each image a box, or the file of a mask of its size. A pixel of a mask is foreground if it is not 0;
        of a palette picture the index counts, of a colour picture all channels.
      config: ``data.image_size`` and ``model.backbone`` are read.
      ignore: the value of a mask's pixels of which nothing is known, if there is one.

    Raises:
      UserError: naming the file that is missing, broken or does not fit; the box that does not; or the counts that
        differ.
    """
    if not places:
        raise UserError("say where the class is: each --support needs a --mask=FILE or a --support_box=x0,y0,x1,y1.")
    if len(images) != len(places):
        boxes = sum(isinstance(place, Box) for place in places)
        raise UserError(
            f"each --support takes one --mask or one --support_box, but {len(images)} --support came with "
            f"{len(places) - boxes} --mask and {boxes} --support_box."
        )
    read = [_read_support(image, place, config, ignore) for image, place in zip(images, places, strict=True)]
    pictures, labels, examples = zip(*read, strict=True)
    return Supports(jnp.stack(pictures), jnp.stack(labels), examples)


def _read_support(
    image: str | Path, place: str | Path | Box, config: ConfigDict, ignore: int | None
) -> tuple[Array, Array, Example]:
    picture = read_image(image)
    if isinstance(place, Box):
        name, label = f"box {place}", box_label(place, picture.shape[:2], image)
    else:
        name, label = f"mask {place}", _mask_label(place, picture.shape[:2], image, ignore)
    fitted = prepare_label(label, config.data.image_size)
    size = config.data.image_size
    grid = create_backbone(config.model.backbone).grid(size)
    # what the network sees of a label: its values at the grid's points
    if resize_bilinear((fitted == 1).astype(jnp.float32)[..., None], grid).max() < 0.01:
        raise UserError(
            f"{name} has too little foreground: in {image} scaled to the network's {size} pixels it slips between the "
            f"points of the {grid} x {grid} grid; crop the picture closer to it."
        )
    example = Example(image, place, fit_picture(picture, DISPLAYED), fit_mask(label == 1, DISPLAYED))
    return prepare_image(picture, config.data.image_size), fitted, example


def _mask_label(
    mask: str | Path, size: tuple[int, int], image: str | Path, ignore: int | None
) -> UInt8[np.ndarray, "h w"]:
    values = read_mask(mask)
    if values.shape != size:
        raise UserError(
            f"mask {mask} is {values.shape[1]} x {values.shape[0]} pixels, but its image {image} is "
            f"{size[1]} x {size[0]}."
        )
    label = (values > 0).astype(np.uint8)
    if ignore is not None:
        label[values == ignore] = 255
    if not (label == 1).any():
        raise UserError(f"mask {mask} has no foreground: every pixel is 0" + (f" or {ignore}." if ignore else "."))
    return label
