"""ImageNet-1k as TFDS prepared it, read without TensorFlow."""

import dataclasses
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from PIL import Image

from mmnet_jax.data import images, streams
from mmnet_jax.data.dataset import DAMAGE
from mmnet_jax.errors import UserError
from mmnet_jax.pretraining.labelled import LabelledBatch

NAME = "imagenet2012"
AREA = (0.08, 1.0)
"""Range of a random crop's area, as a fraction of the image's."""
ASPECT = (3 / 4, 4 / 3)
"""Range of a random crop's width to height."""
TRIES = 10
CENTRE = 0.875
"""Side of the central crop, as a fraction of the image's shorter side."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclasses.dataclass(frozen=True)
class ImageNet:
    """One split, decoded and cropped to squares when images are taken."""

    name: str
    records: Sequence[Mapping[str, Any]]
    classes: int
    side: int
    seed: int | None
    """Seed of random crops; None for central crops."""
    held: bool = False

    def __len__(self) -> int:
        return len(self.records)

    def take(self, indices: Int[np.ndarray, " b"], draws: Int[np.ndarray, " b"]) -> LabelledBatch:
        """Crops of images; the place of the i-th is a function of the seed and ``draws[i]``."""
        pixels = np.zeros((len(indices), self.side, self.side, 3), np.uint8)
        labels = np.zeros(len(indices), np.int32)
        for i, (index, draw) in enumerate(zip(indices.tolist(), draws.tolist(), strict=True)):
            name = f"image {index} of {NAME}'s {self.name} split"
            try:
                record = self.records[index]
            except DAMAGE as error:
                raise UserError(f"{name} cannot be read ({error}).") from None
            image = Image.fromarray(images.decode_image(record["image"], name))
            box = central_box(image.size) if self.seed is None else random_box(image.size, self.seed, draw)
            resized = image.resize((self.side, self.side), Image.Resampling.BILINEAR, box, reducing_gap=2.0)
            pixels[i], labels[i] = np.asarray(resized), record["label"]
        return pixels, labels


def open_imagenet(data_dir: str | Path, side: int, seed: int) -> tuple[ImageNet, ImageNet]:
    """The training split in random crops of ``side`` pixels, and the validation split in central ones.

    A ``UserError`` holds the command that prepares it, where ``data_dir`` does not have it whole as ArrayRecord files.
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
    return ImageNet("train", train, classes, side, seed), ImageNet("validation", validation, classes, side, None)


def random_box(size: tuple[int, int], seed: int, draw: int) -> Box:
    """A crop of random area and shape (Szegedy et al., 2015), a pure function of image size, seed and its number."""
    width, height = size
    numbers = (streams.numbers(seed, streams.CROP, draw, 4 * TRIES) >> np.uint64(11)) / 2.0**53
    for area, aspect, across, down in numbers.reshape(TRIES, 4).tolist():
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
