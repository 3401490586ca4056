"""A manifest's labels read from a folder of mask files instead of a prepared dataset."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmnet_jax.data.dataset import Dataset, Split, find_spec
from mmnet_jax.data.datasets.sources import read_file
from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.errors import UserError, first_of
from mmnet_jax.evaluation.manifest import Manifest

GREY = 224
"""Colour shown in place of the images."""


@dataclasses.dataclass(frozen=True)
class LabelFiles(Split):
    """Masks ``ID.png`` of class indices (255: ignore) in a folder, without images."""

    folder: Path = Path()

    def record(self, i: int) -> tuple[Mapping[str, Any], str]:
        """The encoded mask of image ``i``, and its file."""
        file = self.folder / f"{self.ids[i]}.png"
        return {"mask": read_file(file)}, str(file)

    def read(self, i: int, class_id: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """A grey image in place of image ``i``, and its label for a class."""
        label = self.read_label(i, class_id)
        return np.full((*label.shape, 3), GREY, np.uint8), label


def open_labels(manifest: Manifest, folder: Path) -> Dataset:
    """A dataset of a manifest's test images with the masks in a folder; a ``UserError`` names missing masks.

    In a dataset whose images have one class each, the value of the class is 1.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one with the labels: ID.png with class indices.")
    ids = list(dict.fromkeys(image for e in manifest.episodes for image in (e.query, *e.supports)))
    if missing := [f"{name}.png" for name in ids if not (folder / f"{name}.png").is_file()]:
        lacking = f"{len(missing):,} of the {len(ids):,} masks that the manifest needs"
        raise UserError(f"{folder} lacks {lacking}: {first_of(missing)}; add them.")
    spec = _with_classes(manifest)
    positions, numbers = ({name: i for i, name in enumerate(names)} for names in (ids, spec.class_names))
    counts = np.zeros((len(ids), len(spec.class_names)), np.int64)
    for e in manifest.episodes:  # the class of each image, for datasets with one class an image
        counts[[positions[i] for i in (e.query, *e.supports)], numbers.get(e.class_name, 0)] = 1
    test = LabelFiles("test", ids, counts, [], 0, spec.one_class, folder)
    none = dataclasses.replace(test, name="train", ids=[], counts=counts[:0])
    return Dataset(spec, none, test, manifest.choices.get(spec.variant_flag), manifest.choices.get("folds"))


def _with_classes(manifest: Manifest) -> DatasetSpec:
    """The declaration of the manifest's dataset with the classes that the manifest names."""
    values = manifest.class_ids
    one_class = len(set(values.values())) < len(values)
    numbers = {name: i for i, name in enumerate(values, 1)} if one_class else values
    names = ["background", *(f"class {i}" for i in range(1, max(numbers.values()) + 1))]
    for name, i in numbers.items():
        names[i] = name
    return dataclasses.replace(find_spec(manifest.dataset), class_names=names, one_class=one_class)
