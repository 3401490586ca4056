"""A user's support set: images of a class, each annotated with a mask or a bounding box."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from mmnet_jax.data.images import read_upright
from mmnet_jax.data.masks import check_size, read_mask
from mmnet_jax.data.transforms.evaluation import prepare_image, prepare_label
from mmnet_jax.drawing.images import RGB, Mask, fit_image, fit_mask
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import create_backbone
from mmnet_jax.ops.resize import resize_on_host

DISPLAYED = 600
"""Longer side of an ``Example``'s image, pixels."""


class Box(NamedTuple):
    """A bounding box in pixels of the upright image: columns x0 to x1 - 1, rows y0 to y1 - 1, from the top left."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


class Example(NamedTuple):
    """A support image and its annotation, scaled to a longer side of ``DISPLAYED`` pixels."""

    source: str | Path
    annotation: str | Path | Box
    """A mask file or a box."""
    image: RGB
    mask: Mask
    """True where the class is."""
    notes: tuple[str, ...] = ()
    """Warnings about the annotation, for stderr and the sheet."""

    def entry(self) -> dict[str, Any]:
        """The entry in ``predictions.json``."""
        where = self.annotation
        return {"image": str(self.source), **({"box": [*where]} if isinstance(where, Box) else {"mask": str(where)})}

    def lines(self) -> tuple[str, str]:
        """The two lines of its caption on sheets."""
        where = self.annotation
        return Path(self.source).name, f"box {where}" if isinstance(where, Box) else f"mask {Path(where).name}"


class Supports(NamedTuple):
    """A support set of K images: the network's inputs, and the examples for display."""

    images: Float[np.ndarray, "k s s 3"]
    labels: Int[np.ndarray, "k s s"]
    examples: tuple[Example, ...]


def parse_box(text: str) -> Box:
    """Parses ``x0,y0,x1,y1``; raises ``UserError`` unless these are four whole numbers."""
    numbers = text.split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*[+-]?[0-9]+\s*", number) for number in numbers):
        raise UserError(f"box {text!r} is not four whole numbers x0,y0,x1,y1.")
    return Box(*map(int, numbers))


def box_label(box: Box, size: tuple[int, int], image: str | Path = "its image") -> UInt8[np.ndarray, "h w"]:
    """A label of this height and width with 1 in the box; raises ``UserError`` if the box is empty or not inside."""
    height, width = size
    for axis, first, end in (("x", box.x0, box.x1), ("y", box.y0, box.y1)):
        if end <= first:
            corners = "x0,y0,x1,y1 are two corners, not a corner and a size"
            raise UserError(f"box {box} is empty: {axis}1 must be larger than {axis}0 ({corners}).")
    if min(box) < 0 or box.x1 > width or box.y1 > height:
        raise UserError(f"box {box} is not inside {image}, which is {width} x {height} pixels.")
    label = np.zeros(size, np.uint8)
    label[box.y0 : box.y1, box.x0 : box.x1] = 1
    return label


def read_supports(
    images: Sequence[str | Path], annotations: Sequence[str | Path | Box], config: ConfigDict, ignore: int | None = None
) -> Supports:
    """Reads the support images and their annotations, each a box or the file of a mask of the image's size.

    Masks are read by ``read_mask`` with ``ignore``. Raises ``UserError`` naming a file that is missing or broken, or a
    mask or box that does not fit its image.
    """
    if not annotations:
        raise UserError("each --support needs a --mask=FILE or a --support_box=x0,y0,x1,y1 that marks the class.")
    if len(images) != len(annotations):
        boxes = sum(isinstance(annotation, Box) for annotation in annotations)
        given = f"{len(images)} --support, {len(annotations) - boxes} --mask and {boxes} --support_box are given"
        raise UserError(f"each --support takes one --mask or one --support_box, but {given}.")
    size, grid = config.data.image_size, create_backbone(config.model.backbone).grid(config.data.image_size)
    read = (_read_support(*pair, size, grid, ignore) for pair in zip(images, annotations, strict=True))
    fitted, labels, examples = zip(*read, strict=True)
    return Supports(np.stack(fitted), np.stack(labels), examples)


def _read_support(
    source: str | Path, annotation: str | Path | Box, size: int, grid: int, ignore: int | None
) -> tuple[np.ndarray, np.ndarray, Example]:
    image, orientation = read_upright(source)
    shape = image.shape[:2]
    if isinstance(annotation, Box):
        name, label = f"box {annotation}", box_label(annotation, shape, source)
    else:
        name, label = f"mask {annotation}", read_mask(annotation, ignore)
        check_size(label.shape, name, shape, str(source), orientation)
    fitted = np.asarray(prepare_label(label, size))
    if resize_on_host((fitted == 1).astype(np.float32), (grid, grid)).max() < 0.01:
        raise UserError(
            f"{name} has too little foreground: scaled to the network's {size} pixels, no point of the {grid} x {grid} "
            f"grid meets it; crop {source} closer to the object."
        )
    example = Example(source, annotation, fit_image(image, DISPLAYED), fit_mask(label == 1, DISPLAYED))
    (shown, where), notes = example.lines(), []
    if not (label == 0).any():
        notes.append(f"{where} leaves no background: all of {shown} counts as the class.")
    if orientation != 1 and not isinstance(annotation, Box) and (orientation <= 4 or shape[0] == shape[1]):
        notes.append(f"{shown} is rotated by its EXIF orientation; check on the sheet that {where} fits it.")
    example = example._replace(notes=tuple(notes))
    return np.asarray(prepare_image(image, size)), fitted, example
