"""Class masks from COCO's instance annotations: all that is annotated, or the masks behind the published numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

Mask = UInt8[np.ndarray, "h w"]
Annotation = Mapping[str, Any]


class _Fault(Exception):
    """A fault of an annotation; ``draw_mask`` puts the annotation's id before it."""


def draw_mask(
    annotations: Sequence[Annotation], height: int, width: int, classes: Mapping[int, int], masks: str, name: str
) -> Mask:
    """The mask of class indices of an image, from its annotations in the file's order: later ones over earlier ones.

    Args:
      classes: category id -> mask index.
      masks: a key of ``MASKS``.
      name: what a message calls the mask.

    Raises:
      UserError: an annotation is malformed, of an unknown category, or far outside the image.
    """
    mask = np.zeros((height, width), np.uint8)
    for annotation in sorted(annotations, key=lambda one: not one.get("iscrowd")):  # below every object is a crowd
        try:
            MASKS[masks](mask, annotation, _index(annotation, classes))
        except _Fault as fault:
            raise UserError(f"{name} cannot be drawn: annotation {annotation.get('id')} {fault}.") from None
    return mask


def draw_all(mask: Mask, annotation: Annotation, index: int) -> None:
    """Every polygon of an object; 255 where a crowd is."""
    mask[_region(annotation, mask.shape)] = IGNORE if annotation.get("iscrowd") else index


def draw_published(mask: Mask, annotation: Annotation, index: int) -> None:
    """The first polygon of an object, cut to whole pixels, and no crowds.

    It is what the script that circulates among users makes, and so what published numbers on COCO-20i mean.
    """
    import cv2

    if annotation.get("iscrowd"):
        return
    if isinstance(annotation.get("segmentation"), Mapping):
        raise _Fault("is no polygon, as published masks need")
    points = next(_polygons(annotation, mask.shape), np.zeros((0, 2)))
    if len(points):
        cv2.fillPoly(mask, [points.astype(np.int32)], index)


MASKS = {"all": draw_all, "published": draw_published}
"""What draws an annotation into a mask, by the value of ``data.coco_masks``."""
PACKAGES = {"all": "pycocotools", "published": "cv2"}
"""The module that each needs, of the extra ``coco``."""


def _index(annotation: Annotation, classes: Mapping[int, int]) -> int:
    category = annotation.get("category_id")
    if isinstance(category, int) and category in classes:
        return classes[category]
    raise _Fault(f"is of category {category}, which the file does not declare")


def _region(annotation: Annotation, shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Where an annotation's polygons (those of at least 3 points) or its run-length code are."""
    from pycocotools import mask as coco

    height, width = shape
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        try:
            if list(segmentation["size"]) != [height, width]:
                raise ValueError(f"its size is {segmentation['size']}")
            code = dict(segmentation)
            if isinstance(code["counts"], list):
                if sum(code["counts"]) != height * width:
                    raise ValueError("its runs do not fill the image")
                code = coco.frPyObjects(code, height, width)
            return coco.decode(code).astype(bool)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _Fault(f"has a broken run-length code ({error})") from None
    polygons = [points.ravel().tolist() for points in _polygons(annotation, shape) if len(points) >= 3]
    if not polygons:
        return np.zeros(shape, bool)
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


def _polygons(annotation: Annotation, shape: tuple[int, ...]) -> Iterator[Float[np.ndarray, "n 2"]]:
    """The points (x, y) of each polygon; one is refused that is malformed or further outside than an image's side."""
    polygons, side = annotation.get("segmentation") or [], max(shape)
    for polygon in polygons if isinstance(polygons, Sequence) else [polygons]:
        try:
            points = np.asarray(polygon, np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            points = np.full((1, 2), np.nan)
        if not ((points >= -side) & (points <= 2 * side)).all():  # false for what is not a number
            height, width = shape
            where = f"that is no list of points in an image of {width} x {height} pixels"
            raise _Fault(f"has a polygon {where}")
        yield points
