"""Declaration of a dataset; preparation, training and evaluation read it."""

import dataclasses
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from mmnet_jax.data.datasets.hsnet import HSNet
from mmnet_jax.errors import UserError, listed

Part = Literal["novel", "base", "val"]
"""A fold's novel classes, its base classes, or the val classes, which select a checkpoint."""


class Example(NamedTuple):
    """One encoded image with its mask of class indices (255: ignore)."""

    image: bytes
    mask: bytes | UInt8[np.ndarray, "h w"]
    """Encoded as in a file, or an array."""
    image_name: str
    """Name of the image in error messages, such as its file."""
    mask_name: str
    may_be_empty: bool = False
    """Whether the mask may show no class, as one drawn from annotations may; in a file that is an error."""
    class_id: int | None = None
    """The image's only class, for a mask that holds 1 instead of class indices."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of one split: ``train`` or ``val``."""

    ids: Sequence[str]
    sources: Sequence[Any]
    """Arguments of ``read``, in the order of ``ids``; small and picklable. An interrupted preparation remakes an image
    if the ``repr`` of its source or a file in it (a ``Path``) has changed."""
    read: Callable[[Any], Example]
    """Source -> example; picklable, since worker processes call it. It raises a ``UserError`` that names a bad file."""
    wanted: int
    """Number of images in the published list; ``ids`` holds those found."""
    without_mask: int = 0
    """Number of images found without a mask."""
    missing: Sequence[str] = ()
    """Ids of the published list whose image or mask was not found."""

    @classmethod
    def of_files(cls, files: Mapping[str, tuple[Any, ...]], read: Callable[[Any], Example]) -> "Listing":
        """A listing of the ids whose image and mask both exist.

        ``files`` maps each wanted id to its source, a tuple that begins with image and mask; None: not found.
        """
        found = {i: source for i, source in files.items() if None not in source[:2]}
        missing = [i for i in files if i not in found]
        without_mask = sum(files[i][0] is not None for i in missing)
        return cls(list(found), list(found.values()), read, len(files), without_mask, missing)


class TestList(NamedTuple):
    """The test images of a dataset, from the package's lists."""

    ids: Sequence[str]
    """In the order of the prepared test split."""
    counts: Int[np.ndarray, "n classes"] | None
    """Pixels of each class in each image, background first; None: unknown."""


class Classes(NamedTuple):
    """Classes that a source folder defines; a prepared dataset keeps them in its metadata, as JSON."""

    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    novel: Sequence[Sequence[int]]
    """The novel classes of each fold, ascending."""
    val: Sequence[int]
    """As ``DatasetSpec.val``."""
    one_class: bool
    """As ``DatasetSpec.one_class``."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A dataset whose classes fall into folds.

    A dataset is prepared from a source folder in one of several variants (lists of images, or ways to make masks), or
    generated from a seed, with the variants ``seed0``, ``seed1`` and so on.
    """

    name: str
    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    novel: Mapping[str, Callable[[int], Sequence[int]]]
    """Value of ``data.folds`` -> function from a fold to its novel classes, ascending; the first is the default."""
    build: Callable[[Path, str], Mapping[str, Listing]]
    """(source folder, variant) -> listings of ``train`` and ``val``; a generated dataset ignores the folder."""
    variants: Mapping[str, str]
    """Variant -> recipe that trains on it; the first is the default. A generated dataset lists ``seed0`` alone."""
    folds: int = 4
    """Number of folds; 0 if the source folder decides it."""
    one_class: bool = False
    """Whether each image has one class, so that masks hold 1 instead of class indices."""
    read_classes: Callable[[Path, str, int | None], Classes | None] = lambda source, variant, folds: None
    """(source folder, variant, number of folds or None) -> classes that replace the declared ones; None: keep them."""
    variant_field: str = "data.split"
    """Config field that chooses the variant."""
    source: str = ""
    """Placeholder of the source folder in the preparation command."""
    layout: str = ""
    """Advice for a source folder in which no image is found."""
    generated: bool = False
    min_pixels: int = 2 * 32 * 32
    """Default of ``data.min_pixels``: pixels of a class that admit an image to its lists."""
    protocol: str = "pfenet"
    """Default of ``evaluation.protocol``."""
    episodes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Protocol -> number of test episodes, where it differs from the protocol's own."""
    listed: Callable[[str], TestList | None] = lambda variant: None
    """Variant -> test images by the package's lists; None: it has no lists."""
    hsnet: HSNet | None = None
    """HSNet's lists; None: no HSNet protocol on this dataset."""
    val: Sequence[int] = ()
    """Val classes: every fold keeps them from training and testing, to select a checkpoint; ascending."""

    def classes(self, fold: int, part: Part, folds: str | None = None) -> tuple[int, ...]:
        """Class indices of one part of a fold, ascending; raises a ``UserError`` if the fold does not exist.

        ``folds`` is a key of ``novel``; None: the default.
        """
        self.check_fold(fold)
        if part == "val":
            return tuple(self.val)
        novel = tuple(self.novel[folds or self.default_folds](fold))
        held_out = {*novel, *self.val}
        return novel if part == "novel" else tuple(c for c in range(1, len(self.class_names)) if c not in held_out)

    def with_classes(self, classes: Classes | None) -> "DatasetSpec":
        """The declaration with the classes of a source folder; unchanged if None."""
        if classes is None:
            return self
        novel = {self.default_folds: classes.novel.__getitem__}
        return dataclasses.replace(self, **classes._asdict() | {"novel": novel, "folds": len(classes.novel)})

    @property
    def default_folds(self) -> str:
        """Default of ``data.folds``."""
        return next(iter(self.novel))

    @property
    def default_variant(self) -> str:
        """Variant that is prepared unless another is named."""
        return next(iter(self.variants))

    @property
    def variant_flag(self) -> str:
        """The flag of ``prepare_data.py`` for ``variant_field``, without dashes."""
        return "seed" if self.generated else self.variant_field.rpartition(".")[2]

    def variant(self, value: str | int | None) -> str:
        """Variant for a value of ``variant_field``; None: the default."""
        return self.default_variant if value is None else f"seed{value}" if self.generated else str(value)

    def check_variant(self, variant: str) -> None:
        """Raises a ``UserError`` if the variant does not exist."""
        known = re.fullmatch("seed(0|[1-9][0-9]*)", variant) if self.generated else variant in self.variants
        if not known:
            variants = "seed0, seed1 and so on" if self.generated else listed(self.variants, "and")
            raise UserError(f"{self.name} comes in the variants {variants}, but not {variant}.")

    def check_fold(self, fold: int) -> None:
        """Raises a ``UserError`` if the fold does not exist; without a declared number of folds any from 0 on does."""
        if fold < 0 or (self.folds and fold >= self.folds):
            others = "" if self.folds == 1 else f" to {self.folds - 1}" if self.folds else " or more"
            raise UserError(f"fold of {self.name} must be 0{others}, but is {fold!r}.")

    def check_folds(self, folds: str) -> None:
        """Raises a ``UserError`` if ``folds`` is not a key of ``novel``."""
        if folds not in self.novel:
            raise UserError(f"data.folds of {self.name} must be {listed(self.novel, 'or')}, but is {folds}.")

    def choices(self, variant: str | None, folds: str | None) -> dict[str, str]:
        """Variant (if known) and folds, each if there are several: what results and manifests name."""
        chosen = {self.variant_flag: variant} if variant and len(self.variants) > 1 else {}
        return chosen | ({"folds": folds or self.default_folds} if len(self.novel) > 1 else {})

    def prepare_command(self, data_dir: str | Path, variant: str) -> str:
        """Command line that prepares a variant."""
        source = "" if self.generated else f" --source={self.source}"
        command = f"python scripts/prepare_data.py {self.name}{source} --data_dir={shlex.quote(str(data_dir))}"
        return command + self._given(variant, f" --{self.variant_flag}=")

    def train_command(self, data_dir: str | Path, variant: str) -> str:
        """Command line that trains on a variant."""
        recipe = self.variants.get(variant, self.variants[self.default_variant])
        own = recipe != self.variants[self.default_variant]  # a recipe for one variant names it
        chosen = "" if own else self._given(variant, f" --config.{self.variant_field}=")
        weights = "" if self.generated else " --config.model.weights=FILE.safetensors"
        return (
            f"python -m mmnet_jax.train --config=configs/{recipe}.py --workdir=WORKDIR "
            f"--config.data.data_dir={shlex.quote(str(data_dir))}{chosen}{weights}"
        )

    def _given(self, variant: str, flag: str) -> str:
        """Flag that names a variant; empty for the default."""
        return f"{flag}{variant.removeprefix('seed')}" if variant != self.default_variant else ""


def contiguous(size: int) -> Callable[[int], range]:
    """Folds of successive classes: the novel classes of fold i are size * i + 1 to size * (i + 1)."""
    return lambda fold: range(size * fold + 1, size * (fold + 1) + 1)


def interleaved(folds: int, size: int) -> Callable[[int], range]:
    """Folds that take turns: the novel classes of fold i are folds * x + 1 + i for x = 0 to size - 1."""
    return lambda fold: range(fold + 1, folds * size + 1, folds)
