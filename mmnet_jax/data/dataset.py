"""Prepared datasets: their splits, the pixels of each class in each image, and images and masks on demand."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from jaxtyping import Int, UInt8

from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import Classes, DatasetSpec, Part
from mmnet_jax.data.datasets.unseen import unseen_name, with_unseen
from mmnet_jax.data.images import decode_image
from mmnet_jax.data.masks import decode_mask
from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE

VERSION = "1.0.0"
"""Version of the record format, part of the prepared folder's path."""

DAMAGE = (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError, DecodeError)
"""Errors of TFDS, ArrayRecord and Protocol Buffers on a damaged dataset."""

SAMPLED = 256
"""Number of images whose encoded bytes are part of a fingerprint."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split in their list's order; methods take an image's position.

    All methods that read raise a ``UserError`` that names a damaged image.
    """

    name: str
    ids: Sequence[str]
    counts: Int[np.ndarray, "n classes"]
    """Pixels of each class in each image, background first, without ignored pixels; zeros where unknown."""
    records: Sequence[Mapping[str, Any]]
    """For each image a mapping with the encoded ``image`` and ``mask``."""
    max_side: int
    """Longest side of any image of the dataset, pixels."""
    one_class: bool = False
    """Each image has one class, which is in ``counts``, and its mask holds 1 instead of the class's index."""

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, i: int, class_id: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """RGB pixels of image ``i`` and its label for a class, see ``read_label``."""
        record, name = self.record(i)
        image, mask = decode_image(record["image"], name), decode_mask(record["mask"], name)
        return image, self._label(i, class_id, mask)

    def read_image(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB pixels of image ``i``."""
        record, name = self.record(i)
        return decode_image(record["image"], name)

    def read_label(self, i: int, class_id: int) -> UInt8[np.ndarray, "h w"]:
        """The label of image ``i``: 1 class, 0 other, 255 ignore. Takes a fifth of the time of ``read``."""
        return self._label(i, class_id, self.read_mask(i))

    def read_mask(self, i: int) -> UInt8[np.ndarray, "h w"]:
        """The mask of image ``i`` as stored: class indices, or 0 and 1 if ``one_class``; 255: ignore."""
        record, name = self.record(i)
        return decode_mask(record["mask"], name)

    def stored_value(self, i: int, class_id: int) -> int:
        """The value of a class in the stored mask of image ``i``; -1 for another class than a ``one_class`` image's."""
        if not self.one_class:
            return class_id
        return 1 if self.counts[i, class_id] > 0 else -1

    def _label(self, i: int, class_id: int, mask: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        label = (mask == self.stored_value(i, class_id)).view(np.uint8)
        label |= -(mask == IGNORE).view(np.uint8)  # 255 where ignored; three times as fast as np.where
        return label

    def fingerprint(self) -> str:
        """SHA-256 of ids, pixel counts, and the encoded bytes of up to ``SAMPLED`` images."""
        kind = ["one class"] if self.one_class else []
        digest = hashlib.sha256(json.dumps([list(self.ids), self.max_side, *kind]).encode())
        digest.update(np.ascontiguousarray(self.counts, "<i8").data)
        for i in np.unique(np.linspace(0, len(self) - 1, min(SAMPLED, len(self))).round().astype(int)):
            digest.update(self.records[i]["image"])
            digest.update(self.records[i]["mask"])
        return digest.hexdigest()

    def record(self, i: int) -> tuple[Mapping[str, Any], str]:
        """The record of image ``i``, encoded, and its name for messages."""
        name = f"{self.ids[i]} of the prepared {self.name} images"
        try:
            return self.records[i], name
        except DAMAGE as error:
            raise UserError(f"{name} cannot be read ({error}).") from None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset."""

    spec: DatasetSpec
    train: Split
    test: Split
    variant: str | None = None
    """The prepared variant; None: the dataset is not prepared."""
    folds: str | None = None
    """The division of classes into folds, a key of ``DatasetSpec.novel``; None: the default."""
    source_classes: Classes | None = None
    """The classes of a user's own source, which are part of ``spec``; None: the declared ones."""

    @property
    def name(self) -> str:
        """Its key in ``DATASETS``."""
        return self.spec.name

    @property
    def class_names(self) -> Sequence[str]:
        """Mask index -> name; index 0 is the background."""
        return self.spec.class_names

    def classes(self, fold: int, part: Part) -> tuple[int, ...]:
        """Class indices of one part of a fold, ascending; see ``DatasetSpec.classes``."""
        return self.spec.classes(fold, part, self.folds)

    @property
    def choices(self) -> dict[str, str]:
        """``DatasetSpec.choices`` of this variant and these folds."""
        return self.spec.choices(self.variant, self.folds)

    def fingerprints(self) -> dict[str, str]:
        """``Split.fingerprint`` of both splits by name; ``classes``: a hash of the source's own classes, if any."""
        found = {split.name: split.fingerprint() for split in (self.train, self.test)}
        if self.source_classes:
            found["classes"] = hashlib.sha256(json.dumps(self.source_classes).encode()).hexdigest()
        return found


def find_spec(name: str, folds: str | None = None) -> DatasetSpec:
    """The declaration of a dataset, with the folds of a training on another dataset if ``folds`` names these.

    Raises:
      UserError: the dataset is unknown.
    """
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name}: use one of {', '.join(DATASETS)}.")
    return _with_folds(DATASETS[name], folds)


def _with_folds(spec: DatasetSpec, folds: str | None) -> DatasetSpec:
    trainings = ((trained, own) for trained in DATASETS.values() for own in trained.novel)
    of_training = next((pair for pair in trainings if unseen_name(*pair) == folds), None)
    return spec if of_training is None else with_unseen(spec, *of_training)


def listed_dataset(name: str, variant: str, folds: str | None = None) -> Dataset:
    """A dataset of the package's lists of test images, without images and training split.

    Arguments are those of ``open_dataset``.

    Raises:
      UserError: the package has no lists of the dataset, or there is no such variant or division into folds.
    """
    spec, folds = _choose(name, variant, folds)
    if (listed := spec.listed(variant)) is None:
        raise UserError(f"the package has no lists of {name} ({variant}); give --data_dir=DATA, where it is prepared.")
    ids, counts = listed
    nothing = Split("train", [], np.zeros((0, len(spec.class_names)), np.int64), [], 1, spec.one_class)
    if counts is None:
        counts = np.zeros((len(ids), len(spec.class_names)), np.int64)
    return Dataset(spec, nothing, Split("val", ids, counts, [], 1, spec.one_class), variant, folds)


def dataset_folder(name: str, data_dir: str | Path, variant: str) -> Path:
    """The folder of a prepared variant of a dataset."""
    return Path(data_dir) / name / variant / VERSION


def is_prepared(name: str, data_dir: str | Path, variant: str) -> bool:
    """Whether a variant of a dataset is in ``data_dir``."""
    return (dataset_folder(name, data_dir, variant) / "dataset_info.json").is_file()


def open_dataset(name: str, data_dir: str | Path, variant: str, folds: str | None = None) -> Dataset:
    """Opens a dataset prepared in ``data_dir``.

    Args:
      variant: such as ``"protocol"``; ``"seed0"`` of a generated dataset.
      folds: a key of ``DatasetSpec.novel``, or the name of the folds of a training on another dataset; None: default.

    Raises:
      UserError: there is no such variant or division into folds, or the dataset is not prepared, or damaged.
    """
    spec, folds = _choose(name, variant, folds)
    if not is_prepared(name, data_dir, variant):
        command = spec.prepare_command(data_dir, variant)
        other = next((v for v in spec.variants if is_prepared(name, data_dir, v)), None)
        found = f"no prepared {name}"
        if other and not spec.generated:
            found = f"{name} of {spec.variant_field} = {other}, but not of {variant}"
        raise UserError(f"data.data_dir {data_dir} holds {found}; prepare it with: {command}")
    folder = dataset_folder(name, data_dir, variant)
    try:
        return _open(spec, folder, variant, folds)
    except DAMAGE as error:
        sentence = f"the prepared dataset in {folder} is damaged, remove it and prepare it again ({error})."
        raise UserError(sentence) from None


def _choose(name: str, variant: str, folds: str | None) -> tuple[DatasetSpec, str]:
    """The declaration of a dataset, checked to have this variant, and its folds (None: the default)."""
    spec = find_spec(name, folds)
    spec.check_variant(variant)
    spec.check_folds(folds := folds or spec.default_folds)
    return spec, folds


def _open(spec: DatasetSpec, folder: Path, variant: str, folds: str) -> Dataset:
    import tensorflow_datasets as tfds  # takes a second; packaged lists do not need it

    from mmnet_jax.data.records import Records, unpack_counts

    builder = tfds.builder_from_directory(folder)
    metadata = builder.info.metadata
    source_classes = Classes(**metadata["classes"]) if "classes" in metadata else None
    spec = _with_folds(spec.with_classes(source_classes), folds)
    if metadata["class_names"] != list(spec.class_names):
        raise ValueError(f"its classes are not those of {spec.name}")
    splits = {}
    for split in ("train", "val"):
        ids, packed = metadata["splits"][split]["ids"], metadata["splits"][split]["counts"]
        records = Records(builder, split) if ids else []
        if not len(records) == len(packed) == len(ids):
            raise ValueError(f"{split} has {len(records)} records, {len(ids)} expected")
        for i in {0, len(ids) - 1} if ids else ():  # files are opened when they are first read
            found = records[i]["id"].decode()
            if found != ids[i]:
                raise ValueError(f"record {i} of {split} is {found}, {ids[i]} expected")
        counts = unpack_counts(packed, len(spec.class_names))
        splits[split] = Split(split, ids, counts, records, metadata["max_side"], spec.one_class)
    return Dataset(spec, splits["train"], splits["val"], variant, folds, source_classes)
