"""Which images make an episode: PFENet's rules and choices beside them, pure functions of a seed and a number.

Random numbers are drawn from Philox's raw 64-bit output, which NumPy never changes, so that a seed names the same
episodes under every version.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt64

from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.streams import EPISODE_ORDER, TESTING, TRAINING, numbers, permutation
from mmnet_jax.errors import UserError, first_of

SHOWN = 10
"""Classes with too few images that a message names."""
ClassSampling = Literal["image", "uniform"]
"""Order of drawing a training episode: image draws the query, then a class in it; uniform a class, then its query."""


@dataclasses.dataclass(frozen=True)
class EpisodeSpec:
    """One episode by the positions of its images in their split."""

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

    An image is admitted, as a query and to a class's support list, if it has at least ``min_pixels`` pixels of one of
    the classes (of that class, for the list). The classes a query may be asked for are all that are present in it,
    however small.
    """

    shots: int
    admitted: Int[np.ndarray, " m"]
    """Positions of the possible queries, in the list's order."""
    present: tuple[tuple[int, ...], ...]
    """For each admitted image the classes present in it, ascending."""
    support_lists: Mapping[int, Int[np.ndarray, " _"]]
    """For each class the positions of its eligible supports, ascending."""
    left_out: tuple[int, ...]
    """Classes with fewer eligible images than an episode needs, treated as if they were not among the classes."""
    distinct_supports: bool = True
    """Whether the supports of an episode differ, so that it needs shots + 1 images; else each is drawn by itself among
    all but the query, and two images suffice."""
    class_sampling: ClassSampling = "image"
    """How ``training_episode`` draws a class."""

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
        """The index of some classes; drops images with a pixel of the classes ``without``; ``UserError`` if empty."""
        counts = np.asarray(split.counts)
        kept = ~(counts[:, list(without)] > 0).any(axis=1)
        eligible = {c: np.flatnonzero(kept & (counts[:, c] >= min_pixels)) for c in sorted(classes)}
        needed = shots + 1 if distinct_supports else 2
        left_out = tuple(c for c, images in eligible.items() if len(images) < needed)
        lists = {c: images for c, images in eligible.items() if c not in left_out}
        names = first_of([f"{class_names[c] if class_names else c} ({len(eligible[c])})" for c in left_out], SHOWN)
        if not lists:
            large = f" with at least {min_pixels:,} of its pixels" if min_pixels > 1 else ""
            dropped = np.count_nonzero(~kept)
            raise UserError(
                f"no class has {needed} images{large} in the {split.name} split, as {shots}-shot episodes need: "
                + f"{names}; "
                + (f"novel classes leave out {dropped:,} of its {len(split):,} images; " if dropped else "")
                + ("take fewer shots or add images." if needed > 2 else "add images.")
            )
        if left_out:
            logging.getLogger(__name__).warning(
                "left out of the %s split, with fewer than %d eligible images: %s", split.name, needed, names
            )
        admitted = np.unique(np.concatenate(list(lists.values())))
        usable = np.array(sorted(lists))
        present = tuple(tuple(usable[counts[i, usable] > 0].tolist()) for i in admitted)
        return cls(shots, admitted, present, lists, left_out, distinct_supports, class_sampling)

    def episodes_per_epoch(self, batch_size: int) -> int:
        """Admitted images, without those of a last incomplete batch; a ``UserError`` if they do not fill one."""
        episodes = len(self.admitted) // batch_size * batch_size
        if not episodes:
            few = f"{len(self.admitted)} images are admitted, too few for a batch of {batch_size}"
            raise UserError(f"{few}; take a smaller one or add images.")
        return episodes

    def draw(self, position: int, numbers: UInt64[np.ndarray, " draws"]) -> EpisodeSpec:
        """The episode whose query is admitted image ``position``: its class and supports, drawn by PFENet's rule.

        The first of shots + 1 uniform 64-bit numbers draws the class, uniform over those present, the others supports
        from its list, the query left aside.
        """
        query, present = int(self.admitted[position]), self.present[position]
        class_id = present[_below(numbers[0], len(present))]
        return EpisodeSpec(query, class_id, self._supports(query, class_id, numbers[1:]))

    def draw_by_class(self, numbers: UInt64[np.ndarray, " draws"]) -> EpisodeSpec:
        """An episode whose class is uniform over all, and its query over that class's list.

        The first two of shots + 2 uniform 64-bit numbers draw class and query, the others supports as in ``draw``.
        """
        classes = tuple(self.support_lists)
        class_id = classes[_below(numbers[0], len(classes))]
        eligible = self.support_lists[class_id]
        query = int(eligible[_below(numbers[1], len(eligible))])
        return EpisodeSpec(query, class_id, self._supports(query, class_id, numbers[2:]))

    def _supports(self, query: int, class_id: int, numbers: UInt64[np.ndarray, " shots"]) -> tuple[int, ...]:
        """Images of the class's list without the query, one for each number."""
        eligible = self.support_lists[class_id]
        at = int(np.searchsorted(eligible, query))
        passed = [at] if at < len(eligible) and int(eligible[at]) == query else []
        chosen: list[int] = []
        for number in numbers:
            # Among the places not taken yet; each taken place at or before it moves it one further.
            taken = sorted([*passed, *chosen]) if self.distinct_supports else passed
            place = _below(number, len(eligible) - len(taken))
            for other in taken:
                place += place >= other
            chosen.append(place)
        return tuple(int(eligible[place]) for place in chosen)


def training_index(
    dataset: Dataset,
    fold: int,
    shots: int,
    min_pixels: int,
    *,
    drop_novel: bool = False,
    distinct_supports: bool = True,
    class_sampling: ClassSampling = "image",
) -> EpisodeIndex:
    """The base classes of the training split; novel ones are background, or ``drop_novel`` their images (as in BAM)."""
    return EpisodeIndex.build(
        dataset.train,
        dataset.classes(fold, "base"),
        min_pixels,
        shots,
        without=dataset.classes(fold, "novel") if drop_novel else (),
        class_names=dataset.class_names,
        distinct_supports=distinct_supports,
        class_sampling=class_sampling,
    )


def training_episode(index: EpisodeIndex, seed: int, i: int, batch_size: int) -> EpisodeSpec:
    """Training episode ``i``, a pure function of ``(seed, i)`` for a given index and batch size.

    An epoch is a fresh permutation of the admitted images, the last incomplete batch dropped. Where classes are drawn
    first, ``EpisodeIndex.draw_by_class``, an epoch has as many episodes, and images come as often as they are drawn.
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
