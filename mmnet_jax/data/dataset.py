"""A prepared dataset, opened: its splits, what each image holds, and the image itself on demand."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from mmnet_jax.data import images, records
from mmnet_jax.data.datasets.creatures.builder import Creatures, config_name
from mmnet_jax.data.datasets.pascal5i import Pascal5i
from mmnet_jax.errors import UserError

BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "pascal5i": Pascal5i,
    "creatures": Creatures,
}
"""The datasets that can be prepared."""

GENERATED = ("creatures",)
"""Those that are drawn from a seed and need no source."""


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a split in their list's order; an image is named by its position."""

    name: str
    ids: Sequence[str]
    counts: Int[np.ndarray, "n classes"]
    """Pixels of each class in each image, background first, unknown pixels not counted."""
    records: Sequence[Mapping[str, Any]]
    """For each image a mapping with the encoded ``image`` and ``mask``."""
    max_side: int
    """Longest side of any image of the dataset, pixels."""

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, i: int) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """RGB pixels of image ``i``, and its mask of class indices, 255 where unknown.

        Raises:
          UserError: naming the image, if the prepared dataset is damaged there.
        """
        record, name = self._record(i)
        return images.decode_image(record["image"], name), images.decode_mask(record["mask"], name)

    def read_mask(self, i: int) -> UInt8[np.ndarray, "h w"]:
        """The mask alone, which takes a fifth of the time."""
        record, name = self._record(i)
        return images.decode_mask(record["mask"], name)

    def _record(self, i: int) -> tuple[Mapping[str, Any], str]:
        name = f"{self.ids[i]} of the prepared {self.name} images"
        try:
            return self.records[i], name
        except records.DAMAGE as error:
            raise UserError(f"{name} cannot be read ({error}).") from None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset whose classes fall into folds."""

    name: str
    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    max_side: int
    """Longest side of any image, pixels."""
    train: Split
    test: Split


def dataset_folder(name: str, data_dir: str | Path, variant: str) -> Path:
    """Where ``scripts/prepare_data.py`` puts a variant of a dataset."""
    return Path(data_dir).expanduser() / name / variant / str(BUILDERS[name].VERSION)


def configured_variant(config: ConfigDict) -> str:
    """The variant of ``config.data.dataset`` that is meant: of a generated one its seed's, otherwise ``data.split``."""
    return config_name(config.data.generator_seed) if config.data.dataset in GENERATED else config.data.split


def open_dataset(config: ConfigDict) -> Dataset:
    """The dataset ``config.data.dataset``, in the configured variant, as prepared in ``config.data.data_dir``.

    Raises:
      UserError: if it is not prepared there (the sentence holds the command that prepares it) or damaged.
    """
    name, data_dir = config.data.dataset, config.data.data_dir
    if name not in BUILDERS:
        raise UserError(f"data.dataset {name} cannot be prepared yet; there is {', '.join(BUILDERS)}.")
    variant = configured_variant(config)
    folder = dataset_folder(name, data_dir, variant)
    if not is_prepared(folder):
        command = prepare_command(name, data_dir, variant)
        other = [v for v in ("protocol", "folder") if is_prepared(dataset_folder(name, data_dir, v))]
        if other and name not in GENERATED:
            raise UserError(
                f"data.data_dir {data_dir} holds {name} with --split={other[0]} and not --split={variant}: "
                f"set data.split to {other[0]}, or prepare it with: {command}"
            )
        raise UserError(f"data.data_dir {data_dir} holds no prepared {name}; prepare it with: {command}")
    try:
        return _open(name, folder)
    except records.DAMAGE as error:
        raise UserError(
            f"the prepared dataset in {folder} is damaged, remove it and prepare it again ({error})."
        ) from None


def is_prepared(folder: Path) -> bool:
    """Whether a dataset is there."""
    return (folder / "dataset_info.json").is_file()


def prepare_command(name: str, data_dir: str | Path, variant: str) -> str:
    """The command line that prepares a dataset."""
    where = f"--data_dir={shlex.quote(str(data_dir))}"
    if name in GENERATED:
        return f"python scripts/prepare_data.py {name} {where} --seed={variant.removeprefix('seed')}"
    command = f"python scripts/prepare_data.py {name} --source=VOCdevkit {where}"
    return command if variant == "protocol" else f"{command} --split={variant}"


def _open(name: str, folder: Path) -> Dataset:
    builder = tfds.builder_from_directory(folder)
    metadata = builder.info.metadata
    classes = len(metadata["class_names"])
    splits = {}
    for part, index in metadata["splits"].items():
        counts = records.unpack_counts(index["counts"], classes)
        encoded = {"image": tfds.decode.SkipDecoding(), "mask": tfds.decode.SkipDecoding()}
        source = builder.as_data_source(part, decoders=encoded) if index["ids"] else []
        if not len(source) == len(counts) == len(index["ids"]):
            raise ValueError(f"{part} has {len(source)} records, {len(index['ids'])} expected")
        for i in {0, len(source) - 1} if index["ids"] else ():  # files are opened when they are first read
            found = source[i]["id"].decode()
            if found != index["ids"][i]:
                raise ValueError(f"record {i} of {part} is {found}, {index['ids'][i]} expected")
        splits[part] = Split(part, index["ids"], counts, source, metadata["max_side"])
    return Dataset(name, metadata["class_names"], metadata["max_side"], splits["train"], splits["val"])
