"""ImageNet-1k as TFDS prepared it, read without TensorFlow."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from PIL import Image

from mmnet_jax.data import images, streams
from mmnet_jax.data.dataset import DAMAGE
from mmnet_jax.errors import UserError
from mmnet_jax.pretraining.labelled import LabelledBatch, LabelledImages

NAME = "imagenet2012"
AREA = (0.08, 1.0)
"""Range of a random crop's area, as a fraction of the image's."""
ASPECT = (3 / 4, 4 / 3)
"""Range of a random crop's width over its height."""
MAX_TRIES = 10
"""Attempts at a random crop that fits into the image."""
CENTRE = 0.875
"""Side of the central crop, as a fraction of the image's shorter side."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def open_imagenet(data_dir: str | Path, side: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """The training split in random crops of ``side`` pixels, and the validation split in central ones.

    Raises a ``UserError`` with the command that prepares ImageNet, unless ``data_dir`` has all of it as ArrayRecord.
    """
    home = Path(data_dir) / NAME
    versions = [info.parent for info in home.glob("[0-9]*.[0-9]*.[0-9]*/dataset_info.json")]
    command = f"tfds build {NAME} --file_format=array_record --manual_dir=FOLDER_OF_THE_TAR_FILES --data_dir="
    command += shlex.quote(str(data_dir))
    if not versions:
        raise UserError(f"pretraining.data_dir {data_dir} holds no prepared {NAME}; prepare it with: {command}")
    folder = max(versions, key=lambda version: tfds.core.Version(version.name))
    try:
        builder = tfds.builder_from_directory(folder)
        if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            found = builder.info.file_format.value
            raise UserError(f"{folder} is of the format {found}, not array_record; prepare it with: {command}")
        classes = builder.info.features["label"].num_classes
        decoders = {"image": tfds.decode.SkipDecoding()}
        train, validation = (builder.as_data_source(split, decoders=decoders) for split in ("train", "validation"))
    except DAMAGE as error:
        raise UserError(f"the prepared {NAME} in {folder} is damaged, prepare it again ({error}).") from None
    return (
        _cropped("train", train, classes, side, lambda size, draw: random_box(size, seed, draw)),
        _cropped("validation", validation, classes, side, lambda size, draw: central_box(size)),
    )


def _cropped(
    split: str,
    records: Sequence[Mapping[str, Any]],
    classes: int,
    side: int,
    box_fn: Callable[[tuple[int, int], int], Box],
) -> LabelledImages:
    """Images that are decoded, cropped to ``box_fn(size, draw)`` and resized to ``side`` when they are taken."""

    def take(indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        pixels = np.zeros((len(indices), side, side, 3), np.uint8)
        labels = np.zeros(len(indices), np.int32)
        for i, (index, draw) in enumerate(zip(indices.tolist(), draws.tolist(), strict=True)):
            name = f"image {index} of {NAME}'s {split} split"
            try:
                record = records[index]
            except DAMAGE as error:
                raise UserError(f"{name} cannot be read ({error}).") from None
            image = Image.fromarray(images.decode_image(record["image"], name))
            box = box_fn(image.size, draw)
            resized = image.resize((side, side), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
            pixels[i], labels[i] = np.asarray(resized), record["label"]
        return pixels, labels

    return LabelledImages(len(records), classes, take)


def random_box(size: tuple[int, int], seed: int, draw: int) -> Box:
    """A crop of random area and shape (Szegedy et al., 2015), as a pure function of image size, seed and draw."""
    width, height = size
    numbers = (streams.numbers(seed, streams.CROP, draw, 4 * MAX_TRIES) >> np.uint64(11)) / 2.0**53
    for area, aspect, across, down in numbers.reshape(MAX_TRIES, 4).tolist():
        pixels = (AREA[0] + (AREA[1] - AREA[0]) * area) * width * height
        ratio = math.exp(math.log(ASPECT[0]) + aspect * math.log(ASPECT[1] / ASPECT[0]))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = math.floor(across * (width - w + 1)), math.floor(down * (height - h + 1))
            return left, top, left + w, top + h
    return central_box(size)


def central_box(size: tuple[int, int]) -> Box:
    """The central square of an image of width and height ``size``."""
    width, height = size
    side = CENTRE * min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
