"""The declaration of a dataset, which preparation, training and evaluation read."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmnet_jax.errors import UserError

Part = Literal["base", "novel"]
"""The classes of a fold that training sees, or those held out for testing."""


class Example(NamedTuple):
    """One encoded image with its mask of class indices (255: ignore)."""

    image: bytes
    mask: bytes
    image_name: str
    """What error messages call the image, its file for example."""
    mask_name: str
    may_be_empty: bool = False
    """Whether the mask may show no class, since it was drawn from annotations and is no file that may be misread."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of one split: ``train`` or ``val``."""

    ids: Sequence[str]
    sources: Sequence[Any]
    """What ``read`` needs to make each image's example, in the order of ``ids``; small and picklable."""
    read: Callable[[Any], Example]
    """Source -> example; picklable, since it runs in worker processes. A ``UserError`` names a file at fault."""
    wanted: int
    """Length of the published list, of which ``ids`` holds what was found."""
    without_mask: int = 0
    """Images of the list that were found without a mask."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A dataset whose classes fall into folds.

    A dataset is prepared from a source folder in one of several variants (lists of images), or generated from a seed;
    the variants of a generated dataset are ``seed0``, ``seed1`` and so on.
    """

    name: str
    class_names: Sequence[str]
    """Mask index -> name; index 0 is the background."""
    novel: Callable[[int], Sequence[int]]
    """Fold -> the classes it holds out, ascending."""
    folds: int = 4
    build: Callable[[Path | None, str], Mapping[str, Listing]] | None = None
    """(source folder or None, variant) -> listings of ``train`` and ``val``. None: it cannot be prepared yet."""
    variants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Variant -> the recipe to train it with; the first one is the default. Of a generated dataset one suffices."""
    source: str = ""
    """The source folder in the command that prepares it."""
    generated: bool = False
    min_pixels: int = 2 * 32 * 32
    """Pixels of a class that admit an image to its lists, in the summary of the prepared dataset."""
    episodes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Protocol -> test episodes, where it is another number than the protocol's own."""

    def classes(self, fold: int, part: Part) -> tuple[int, ...]:
        """Class indices of one part of a fold, ascending; a ``ValueError`` if there is no such fold."""
        if fold not in range(self.folds):
            raise ValueError(f"fold must be 0 to {self.folds - 1}, but is {fold!r}.")
        novel = tuple(self.novel(fold))
        if part == "novel":
            return novel
        return tuple(c for c in range(1, len(self.class_names)) if c not in novel)

    @property
    def default_variant(self) -> str:
        """The first one."""
        return next(iter(self.variants))

    def variant(self, split: str | None, seed: int) -> str:
        """The variant that ``data.split`` (None: the default) and ``data.generator_seed`` choose."""
        return f"seed{seed}" if self.generated else split or self.default_variant

    def check_variant(self, variant: str) -> None:
        """Raises a ``UserError`` if there is no such variant."""
        seed = variant.removeprefix("seed")
        if self.generated and not (seed.isdecimal() and variant == f"seed{int(seed)}"):
            raise UserError(f"{self.name} comes in the variants seed0, seed1 and so on, but not {variant}.")
        if not self.generated and variant not in self.variants:
            raise UserError(f"{self.name} comes in the variants {' and '.join(self.variants)}, but not {variant}.")

    def prepare_command(self, data_dir: str | Path, variant: str) -> str:
        """The command line that prepares a variant."""
        source = "" if self.generated else f" --source={self.source}"
        chosen = f" --seed={variant.removeprefix('seed')}" if self.generated else f" --split={variant}"
        command = f"python scripts/prepare_data.py {self.name}{source} --data_dir={shlex.quote(str(data_dir))}"
        return command + (chosen if self.generated or variant != self.default_variant else "")

    def train_command(self, data_dir: str | Path, variant: str) -> str:
        """The command line that trains on a variant."""
        recipe = self.variants.get(variant, self.variants[self.default_variant])
        seed = f"--config.data.generator_seed={variant.removeprefix('seed')}"
        last = seed if self.generated else "--config.model.weights=FILE.safetensors"
        return (
            f"python -m mmnet_jax.train --config=configs/{recipe}.py --workdir=WORKDIR "
            f"--config.data.data_dir={shlex.quote(str(data_dir))} {last}"
        )


def contiguous(size: int) -> Callable[[int], range]:
    """Folds of ``size`` successive classes: fold i holds out size * i + 1 .. size * (i + 1)."""
    return lambda fold: range(size * fold + 1, size * (fold + 1) + 1)


def interleaved(folds: int, size: int) -> Callable[[int], range]:
    """Folds that take turns: fold i of ``folds`` holds out the ``size`` classes folds * x + 1 + i, x = 0, 1, ..."""
    return lambda fold: range(fold + 1, folds * size + 1, folds)
