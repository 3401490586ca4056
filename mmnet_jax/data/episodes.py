"""Episode sampling by PFENet's rules and their variants; every draw is a pure function of a seed and a number."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, UInt64

from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.streams import EPISODE_ORDER, TESTING, TRAINING, numbers, permutation
from mmnet_jax.errors import UserError, first_of

SHOWN = 10
"""Number of classes with too few images that a message names."""
ClassSampling = Literal["image", "uniform"]
"""Order of drawing a training episode: image draws the query, then a class in it; uniform a class, then its query."""


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """One episode as positions of images in their split."""

    query: int
    class_id: int
    supports: tuple[int, ...]

    @property
    def images(self) -> tuple[int, ...]:
        """The query first, then the supports."""
        return self.query, *self.supports


@dataclasses.dataclass(frozen=True)
class EpisodeIndex:
    """The possible queries and supports of a split.

    An image is admitted as a query if it has at least ``min_pixels`` pixels of one of the classes, and to a class's
    support list if it has as many of that class. Any class present in a query, however small, may be its class.
    """

    shots: int
    admitted: Int[np.ndarray, " m"]
    """Positions of the possible queries, in the list's order."""
    present: tuple[tuple[int, ...], ...]
    """The classes present in each admitted image, ascending."""
    support_lists: Mapping[int, Int[np.ndarray, " _"]]
    """Positions of the eligible supports of each class, ascending; a class with too few for an episode is absent."""
    distinct_supports: bool = True
    """Supports of an episode differ, so that a class needs shots + 1 images; otherwise each support is drawn from all
    images but the query, and two suffice."""
    class_sampling: ClassSampling = "image"
    """Order of draws in ``training_episode``."""

    @classmethod
    def build(
        cls,
        split: Split,
        classes: Sequence[int],
        min_pixels: int,
        shots: int,
        without: Collection[int] = (),
        class_names: Sequence[str] | None = None,
        distinct_supports: bool = True,
        class_sampling: ClassSampling = "image",
    ) -> EpisodeIndex:
        """The index of some classes, without images that hold a pixel of the classes ``without``.

        Classes with too few images are left out, with a warning.

        Raises:
          UserError: no class has enough images.
        """
        counts = np.asarray(split.counts)
        kept = ~(counts[:, list(without)] > 0).any(axis=1)
        eligible = {c: np.flatnonzero(kept & (counts[:, c] >= min_pixels)) for c in sorted(classes)}
        needed = shots + 1 if distinct_supports else 2
        lists = {c: images for c, images in eligible.items() if len(images) >= needed}
        few = [c for c in eligible if c not in lists]
        names = first_of([f"{class_names[c] if class_names else c} ({len(eligible[c])})" for c in few], SHOWN)
        if not lists:
            large = f" with at least {min_pixels:,} of its pixels" if min_pixels > 1 else ""
            dropped = np.count_nonzero(~kept)
            raise UserError(
                f"no class has {needed} images{large} in the {split.name} split, as {shots}-shot episodes need: "
                + f"{names}; "
                + (f"novel classes leave out {dropped:,} of its {len(split):,} images; " if dropped else "")
                + ("take fewer shots or add images." if needed > 2 else "add images.")
            )
        if few:
            text = "left out of the %s split, with fewer than %d eligible images: %s"
            logging.getLogger(__name__).warning(text, split.name, needed, names)
        admitted = np.unique(np.concatenate(list(lists.values())))
        usable = np.array(sorted(lists))
        present = tuple(tuple(usable[counts[i, usable] > 0].tolist()) for i in admitted)
        return cls(shots, admitted, present, lists, distinct_supports, class_sampling)

    def episodes_per_epoch(self, batch_size: int) -> int:
        """Admitted images in whole batches; a ``UserError`` if they do not fill one."""
        episodes = len(self.admitted) // batch_size * batch_size
        if not episodes:
            few = f"{len(self.admitted)} images are admitted, too few for a batch of {batch_size}"
            raise UserError(f"{few}; take a smaller one or add images.")
        return episodes

    def draw(self, position: int, numbers: UInt64[np.ndarray, " draws"]) -> EpisodeSpec:
        """The episode of admitted image ``position``, by PFENet's rule.

        Of shots + 1 uniform 64-bit numbers the first draws the class among those present, the others draw supports from
        the class's list without the query.
        """
        query, present = int(self.admitted[position]), self.present[position]
        class_id = present[_below(numbers[0], len(present))]
        return EpisodeSpec(query, class_id, self._supports(query, class_id, numbers[1:]))

    def draw_by_class(self, numbers: UInt64[np.ndarray, " draws"]) -> EpisodeSpec:
        """An episode whose class is uniform over all classes, and its query over the class's list.

        Of shots + 2 uniform 64-bit numbers the first two draw class and query, the others supports as in ``draw``.
        """
        classes = tuple(self.support_lists)
        class_id = classes[_below(numbers[0], len(classes))]
        eligible = self.support_lists[class_id]
        query = int(eligible[_below(numbers[1], len(eligible))])
        return EpisodeSpec(query, class_id, self._supports(query, class_id, numbers[2:]))

    def _supports(self, query: int, class_id: int, numbers: UInt64[np.ndarray, " shots"]) -> tuple[int, ...]:
        """One image of the class's list, without the query, for each number."""
        eligible = self.support_lists[class_id]
        passed = np.flatnonzero(eligible == query).tolist()
        chosen: list[int] = []
        for number in numbers:
            # Each draw is an index into the images not taken yet: every taken image at or before it shifts it by one.
            taken = sorted([*passed, *chosen]) if self.distinct_supports else passed
            place = _below(number, len(eligible) - len(taken))
            for other in taken:
                place += place >= other
            chosen.append(place)
        return tuple(int(eligible[place]) for place in chosen)


def training_index(
    dataset: Dataset, fold: int, shots: int, min_pixels: int, *, drop_novel: bool = False, **rules: Any
) -> EpisodeIndex:
    """The index of the base classes of the training split; ``rules`` are further arguments of ``EpisodeIndex.build``.

    Pixels of novel classes are background; with ``drop_novel`` their images are left out, as in BAM.
    """
    without = dataset.classes(fold, "novel") if drop_novel else ()
    rules |= {"without": without, "class_names": dataset.class_names}
    return EpisodeIndex.build(dataset.train, dataset.classes(fold, "base"), min_pixels, shots, **rules)


def training_episode(index: EpisodeIndex, seed: int, i: int, batch_size: int) -> EpisodeSpec:
    """Training episode ``i``, a pure function of ``(seed, i)`` for a given index and batch size.

    An epoch is a permutation of the admitted images without the last incomplete batch; each epoch has another one. With
    ``class_sampling="uniform"`` an epoch has as many episodes, of queries drawn with repetition.
    """
    if index.class_sampling == "uniform":
        return index.draw_by_class(numbers(seed, TRAINING, i, index.shots + 2))
    epoch, position = divmod(i, index.episodes_per_epoch(batch_size))
    query = permutation(seed, EPISODE_ORDER, epoch, len(index.admitted))[position]
    return index.draw(int(query), numbers(seed, TRAINING, i, index.shots + 1))


def testing_episode(index: EpisodeIndex, seed: int, i: int) -> EpisodeSpec:
    """Test episode ``i``, a pure function of ``(seed, i)``: the admitted images in the list's order, cycled."""
    return index.draw(i % len(index.admitted), numbers(seed, TESTING, i, index.shots + 1))


def _below(number: np.uint64, bound: int) -> int:
    return int(number) * bound >> 64
