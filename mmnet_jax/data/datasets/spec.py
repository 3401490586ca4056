"""The declaration of a dataset, which preparation, training and evaluation read."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from mmnet_jax.data.datasets.hsnet import HSNet
from mmnet_jax.errors import UserError, listed

Part = Literal["novel", "base", "val"]
"""The classes of a fold held out for testing, those that training sees, or those held out to select a checkpoint by."""


class Example(NamedTuple):
    """One encoded image with its mask of class indices (255: ignore)."""

    image: bytes
    mask: bytes
    image_name: str
    """What error messages call the image, its file for example."""
    mask_name: str
    may_be_empty: bool = False
    """Whether the mask may show no class, since it was drawn from annotations and is no file that may be misread."""
    class_id: int | None = None
    """The image's one class, where the mask holds 1 instead of class indices."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of one split: ``train`` or ``val``."""

    ids: Sequence[str]
    sources: Sequence[Any]
    """What ``read`` needs to make each image's example, in the order of ``ids``; small and picklable. What an
    interrupted preparation has finished is kept where the ``repr`` and the files named by a ``Path`` are as before."""
    read: Callable[[Any], Example]
    """Source -> example; picklable, since it runs in worker processes. A ``UserError`` names a file at fault."""
    wanted: int
    """Length of the published list, of which ``ids`` holds what was found."""
    without_mask: int = 0
    """Images of the list that were found without a mask."""
    missing: Sequence[str] = ()
    """Ids of the list whose image or mask was not found."""

    @classmethod
    def of_files(cls, files: Mapping[str, tuple[Any, ...]], read: Callable[[Any], Example]) -> "Listing":
        """The images whose image and mask are both found, by id: a tuple of these first, None for what is not there."""
        found = {i: source for i, source in files.items() if None not in source[:2]}
        missing = [i for i in files if i not in found]
        without_mask = sum(files[i][0] is not None for i in missing)
        return cls(list(found), list(found.values()), read, len(files), without_mask, missing)


class TestList(NamedTuple):
    """The test images of a dataset as far as the package's lists know them."""

    ids: Sequence[str]
    """In the order of the prepared test split."""
    counts: Int[np.ndarray, "n classes"] | None
    """Pixels of each class in each, background first; None: unknown."""


class Classes(NamedTuple):
    """The classes that a source folder brings along; a prepared dataset keeps them in its metadata, as JSON."""

    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    novel: Sequence[Sequence[int]]
    """For each fold the classes that it holds out, ascending."""
    val: Sequence[int]
    """As ``DatasetSpec.val``."""
    one_class: bool
    """As ``DatasetSpec.one_class``."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A dataset whose classes fall into folds.

    A dataset is prepared from a source folder in one of several variants (lists of images, or ways to make masks), or
    generated from a seed; the variants of a generated dataset are ``seed0``, ``seed1`` and so on.
    """

    name: str
    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    novel: Mapping[str, Callable[[int], Sequence[int]]]
    """By the value of ``data.folds``, the first one the default: fold -> the classes it holds out, ascending."""
    build: Callable[[Path | None, str], Mapping[str, Listing]]
    """(source folder or None, variant) -> listings of ``train`` and ``val``."""
    variants: Mapping[str, str]
    """Variant -> the recipe to train it with; the first one is the default. Of a generated dataset one suffices."""
    folds: int = 4
    """Number of folds; 0 in a declaration whose source decides it."""
    one_class: bool = False
    """Whether each image has one class, so that masks hold 1 and may tell more classes apart than their type."""
    read_classes: Callable[[Path, str, int | None], Classes | None] = lambda source, variant, folds: None
    """(source folder, variant, number of folds or None) -> the classes that it brings along, which replace those of
    the declaration; None where these hold."""
    variant_field: str = "data.split"
    """The config field that chooses the variant."""
    source: str = ""
    """The source folder in the command that prepares it."""
    generated: bool = False
    min_pixels: int = 2 * 32 * 32
    """Pixels of a class that admit an image to its lists, where ``data.min_pixels`` is open."""
    protocol: str = "pfenet"
    """Evaluation protocol, where ``evaluation.protocol`` is open."""
    episodes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Protocol -> test episodes, where it is another number than the protocol's own."""
    listed: Callable[[str], TestList] | None = None
    """Variant -> its test images, where the package has lists of them; a ``UserError`` for a variant without them."""
    hsnet: HSNet | None = None
    """HSNet's lists; None: its protocol is not known for this dataset."""
    val: Sequence[int] = ()
    """Classes that every fold keeps from both training and testing, to select a checkpoint by, ascending."""

    def classes(self, fold: int, part: Part, folds: str | None = None) -> tuple[int, ...]:
        """Class indices of one part of a fold, ascending; a ``UserError`` if there is no such fold.

        ``folds`` is a key of ``novel``, the default one if None.
        """
        self.check_fold(fold)
        if part == "val":
            return tuple(self.val)
        novel = tuple(self.novel[folds or self.default_folds](fold))
        held_out = {*novel, *self.val}
        return novel if part == "novel" else tuple(c for c in range(1, len(self.class_names)) if c not in held_out)

    def with_classes(self, classes: Classes | None) -> "DatasetSpec":
        """The declaration with the classes that a source brought along; itself if None."""
        if classes is None:
            return self
        novel = {self.default_folds: classes.novel.__getitem__}
        return dataclasses.replace(self, **classes._asdict() | {"novel": novel, "folds": len(classes.novel)})

    @property
    def default_folds(self) -> str:
        """The first one."""
        return next(iter(self.novel))

    @property
    def default_variant(self) -> str:
        """The first one."""
        return next(iter(self.variants))

    @property
    def variant_flag(self) -> str:
        """The flag of ``prepare_data.py`` for ``variant_field``, without dashes."""
        return "seed" if self.generated else self.variant_field.rpartition(".")[2]

    def variant(self, value: str | int | None) -> str:
        """The variant that a value of ``variant_field`` names; the default if None."""
        return self.default_variant if value is None else f"seed{value}" if self.generated else str(value)

    def check_variant(self, variant: str) -> None:
        """Raises a ``UserError`` if there is no such variant."""
        seed = variant.removeprefix("seed")
        if self.generated and not (seed.isdecimal() and variant == f"seed{int(seed)}"):
            raise UserError(f"{self.name} comes in the variants seed0, seed1 and so on, but not {variant}.")
        if not self.generated and variant not in self.variants:
            raise UserError(f"{self.name} comes in the variants {listed(self.variants, 'and')}, but not {variant}.")

    def check_fold(self, fold: int) -> None:
        """Raises a ``UserError`` if there is no such fold; any from 0 on passes where the source decides."""
        if fold < 0 or (self.folds and fold >= self.folds):
            others = "" if self.folds == 1 else f" to {self.folds - 1}" if self.folds else " or more"
            raise UserError(f"fold of {self.name} must be 0{others}, but is {fold!r}.")

    def check_folds(self, folds: str) -> None:
        """Raises a ``UserError`` if its classes do not fall into such folds."""
        if folds not in self.novel:
            raise UserError(f"data.folds of {self.name} must be {listed(self.novel, 'or')}, but is {folds}.")

    def choices(self, variant: str | None, folds: str | None) -> dict[str, str]:
        """What results and manifests name: the variant, if known, and the folds, where the dataset offers several."""
        chosen = {self.variant_flag: variant} if variant and len(self.variants) > 1 else {}
        return chosen | ({"folds": folds or self.default_folds} if len(self.novel) > 1 else {})

    def prepare_command(self, data_dir: str | Path, variant: str) -> str:
        """The command line that prepares a variant."""
        source = "" if self.generated else f" --source={self.source}"
        command = f"python scripts/prepare_data.py {self.name}{source} --data_dir={shlex.quote(str(data_dir))}"
        return command + self._given(variant, f" --{self.variant_flag}=")

    def train_command(self, data_dir: str | Path, variant: str) -> str:
        """The command line that trains on a variant."""
        recipe = self.variants.get(variant, self.variants[self.default_variant])
        own = recipe != self.variants[self.default_variant]  # a recipe for one variant names it
        chosen = "" if own else self._given(variant, f" --config.{self.variant_field}=")
        weights = "" if self.generated else " --config.model.weights=FILE.safetensors"
        return (
            f"python -m mmnet_jax.train --config=configs/{recipe}.py --workdir=WORKDIR "
            f"--config.data.data_dir={shlex.quote(str(data_dir))}{chosen}{weights}"
        )

    def _given(self, variant: str, flag: str) -> str:
        """A flag that names a variant; nothing where it is the default."""
        return f"{flag}{variant.removeprefix('seed')}" if variant != self.default_variant else ""


def contiguous(size: int) -> Callable[[int], range]:
    """Folds of ``size`` successive classes: fold i holds out size * i + 1 .. size * (i + 1)."""
    return lambda fold: range(size * fold + 1, size * (fold + 1) + 1)


def interleaved(folds: int, size: int) -> Callable[[int], range]:
    """Folds that take turns: fold i of ``folds`` holds out the ``size`` classes folds * x + 1 + i, x = 0, 1, ..."""
    return lambda fold: range(fold + 1, folds * size + 1, folds)
