"""Class masks from COCO's instance annotations: all that is annotated, or the masks behind the published numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

Mask = UInt8[np.ndarray, "h w"]
Annotation = Mapping[str, Any]


def draw_mask(
    annotations: Sequence[Annotation], height: int, width: int, classes: Mapping[int, int], masks: str, name: str
) -> Mask:
    """The mask of class indices of an image, from its annotations in the file's order: later ones over earlier ones.

    Args:
      classes: category id -> mask index.
      masks: a key of ``MASKS``.
      name: name of the mask in messages.

    Raises:
      UserError: an annotation is malformed, of an unknown category, or far outside the image.
    """
    mask = np.zeros((height, width), np.uint8)
    for annotation in sorted(annotations, key=lambda one: not one.get("iscrowd")):  # crowds lie below all objects
        try:
            category = annotation["category_id"]
            if category not in classes:
                raise ValueError(f"the file declares no category {category}")
            MASKS[masks](mask, annotation, classes[category])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            fault = f"annotation {annotation.get('id')} is malformed ({error})"
            raise UserError(f"{name} cannot be drawn: {fault}.") from None
    return mask


def draw_all(mask: Mask, annotation: Annotation, index: int) -> None:
    """Draws every polygon or the run-length code of an object; 255 for a crowd."""
    from pycocotools import mask as coco

    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, Mapping):
        code = dict(segmentation)
        if list(code["size"]) != list(mask.shape):
            raise ValueError(f"its run-length code is of size {code['size']}")
        if isinstance(code["counts"], list):
            if sum(code["counts"]) != mask.size:
                raise ValueError("its run-length code does not fill the image")
            code = coco.frPyObjects(code, *mask.shape)
    else:
        polygons = [_points(polygon, mask).ravel().tolist() for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            return
        code = coco.merge(coco.frPyObjects(polygons, *mask.shape))
    mask[coco.decode(code).astype(bool)] = IGNORE if annotation.get("iscrowd") else index


def draw_published(mask: Mask, annotation: Annotation, index: int) -> None:
    """Draws the first polygon of an object, in whole pixels, and no crowds.

    The published numbers on COCO-20i are based on such masks, drawn by a widely copied script.
    """
    import cv2

    if annotation.get("iscrowd"):
        return
    segmentation = annotation.get("segmentation") or []
    if isinstance(segmentation, Mapping):
        raise ValueError("published masks need polygons")
    if segmentation and segmentation[0]:
        cv2.fillPoly(mask, [_points(segmentation[0], mask).astype(np.int32)], index)


MASKS = {"all": draw_all, "published": draw_published}
"""Value of ``data.coco_masks`` -> function that draws an annotation into a mask."""
PACKAGES = {"all": "pycocotools", "published": "cv2"}
"""The module that each needs, from the extra ``coco``."""


def _points(polygon: Any, mask: Mask) -> Float[np.ndarray, "n 2"]:
    """The points (x, y) of a polygon; raises a ``ValueError`` if one is further outside than the image's longer side.

    pycocotools would allocate memory for every pixel that the polygon crosses.
    """
    points, side = np.asarray(polygon, np.float64).reshape(-1, 2), max(mask.shape)
    if not ((points >= -side) & (points <= 2 * side)).all():  # a comparison with NaN is false
        raise ValueError(f"its polygon is outside the image of {mask.shape[1]} x {mask.shape[0]} pixels")
    return points
