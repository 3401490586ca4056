"""What a prepared dataset holds: one record an image, and an index that names them all without reading one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from mmnet_jax.data import images
from mmnet_jax.episode import IGNORE
from mmnet_jax.errors import UserError

DAMAGE = (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError)
"""What TFDS and ArrayRecord raise, as it comes, where a prepared dataset is damaged."""


def features(classes: int, encoding: str = "jpeg") -> tfds.features.FeaturesDict:
    """Features of a record; ``classes`` counts the background, ``encoding`` is the images'."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format=encoding),
            "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "counts": tfds.features.Tensor(shape=(classes,), dtype=np.int64),
        }
    )


def make_record(
    identity: str, image: bytes, mask: bytes, classes: int, image_name: str, mask_name: str
) -> tuple[dict[str, Any], tuple[int, int]]:
    """A checked record, and its image's height and width.

    The image's bytes are kept as they are. The mask is encoded anew as a grey PNG of its indices, since some decoders
    turn a palette PNG into colours.

    Args:
      identity: the image's id.
      image: the encoded image.
      mask: the encoded mask.
      classes: classes with the background; mask indices are below it, or 255.
      image_name: the image's file, for messages.
      mask_name: the mask's file, for messages.

    Raises:
      UserError: naming the file that is broken, the mask whose size is not its image's, or the mask with an index that
        is no class.
    """
    height, width, _ = images.decode_image(image, image_name).shape
    indices = images.decode_mask(mask, mask_name)
    if indices.shape != (height, width):
        raise UserError(
            f"{mask_name} is {indices.shape[1]} x {indices.shape[0]} pixels, but its image is {width} x {height}."
        )
    counts = np.bincount(indices.ravel(), minlength=IGNORE + 1)
    unknown = np.flatnonzero(counts[classes:IGNORE]) + classes
    if unknown.size:
        raise UserError(
            f"{mask_name} holds index {unknown[0]}; its classes are 0 to {classes - 1}, and 255 for unknown."
        )
    record = {
        "id": identity,
        "image": image,
        "mask": images.encode_mask(indices),
        "counts": counts[:classes].astype(np.int64),
    }
    return record, (height, width)


def pack_counts(counts: Int[np.ndarray, " classes"]) -> list[int]:
    """The classes that are present and their pixels, ``[class, pixels, class, pixels, ...]``, for the index."""
    present = np.flatnonzero(counts)
    return np.stack([present, counts[present]], axis=1).ravel().tolist()


def unpack_counts(packed: Sequence[Sequence[int]], classes: int) -> Int[np.ndarray, "n classes"]:
    """Pixels of every class in every image, from what ``pack_counts`` made of each."""
    counts = np.zeros((len(packed), classes), np.int64)
    for row, pairs in zip(counts, packed, strict=True):
        row[np.asarray(pairs[::2], int)] = pairs[1::2]
    return counts
