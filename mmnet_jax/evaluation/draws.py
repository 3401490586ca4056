"""Test episodes drawn by PFENet's rules, from the admitted images, or by HSNet's, from its own lists."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.hsnet import HSNetLists
from mmnet_jax.data.episodes import EpisodeIndex, testing_episode
from mmnet_jax.errors import UserError, first_of


class Episode(NamedTuple):
    """One test episode by image ids and class name."""

    query: str
    class_name: str
    supports: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The episode's entry in a manifest file."""
        return {"query": self.query, "class": self.class_name, "supports": list(self.supports)}


@dataclasses.dataclass(frozen=True)
class Request:
    """The dataset, classes and numbers from which a protocol draws episodes."""

    dataset: Dataset
    fold: int
    classes: tuple[int, ...]
    shots: int
    seeds: Sequence[int]
    episodes: int
    """Number of episodes of each seed."""
    min_pixels: int
    """Least number of pixels of a class that admits an image to PFENet's lists."""
    restrict: bool = False
    """True: missing images are left out of HSNet's lists; False: they are an error."""


class Drawn(NamedTuple):
    """The episodes that a protocol draws."""

    episodes: tuple[Episode, ...]
    """The episodes of all seeds, one seed after the other."""
    restricted: str | None = None
    """The part of HSNet's lists that is present, such as ``48 of 451 queries``; None: all of it."""


def draw_pfenet(request: Request) -> Drawn:
    """PFENet's episodes: queries in list order, cycled, and distinct supports; see ``testing_episode``.

    Every seed starts at the head of the list. Raises ``UserError`` if no class has enough images.
    """
    dataset, count = request.dataset, range(request.episodes)
    ids, names = dataset.test.ids, dataset.class_names
    if not np.any(dataset.test.counts):
        unknown = f"this protocol needs the pixels of each class, and the package does not have those of {dataset.name}"
        raise UserError(f"{unknown}; give --data_dir=DATA, where it is prepared.")
    index = EpisodeIndex.build(dataset.test, request.classes, request.min_pixels, request.shots, class_names=names)
    specs = (testing_episode(index, seed, i) for seed in request.seeds for i in count)
    return Drawn(tuple(Episode(ids[e.query], names[e.class_id], tuple(ids[s] for s in e.supports)) for e in specs))


def draw_hsnet(request: Request) -> Drawn:
    """HSNet's episodes, for seed 0 those of its authors: draw by draw from NumPy's legacy generator, which is frozen.

    A support is drawn from the class's list until it is not the query; supports may repeat. Raises ``UserError`` if
    listed images are missing, unless ``request.restrict``.
    """
    lists, restricted = _present_lists(request)
    names, classes = request.dataset.class_names, sorted(lists.images)
    episodes = []
    for seed in request.seeds:
        random = np.random.RandomState(seed)
        for i in range(request.episodes):
            if lists.queries is None:
                class_id = _draw(random, classes)
                query = _draw(random, lists.images[class_id])
            else:
                query, class_id = lists.queries[i % len(lists.queries)]
            supports: list[str] = []
            while len(supports) < request.shots:
                if (drawn := _draw(random, lists.images[class_id])) != query:
                    supports.append(drawn)
            episodes.append(Episode(query, names[class_id], tuple(supports)))
    return Drawn(tuple(episodes), restricted)


def _draw(random: np.random.RandomState, options: Sequence[Any]) -> Any:
    """One of the options, by the call that HSNet makes."""
    (at,) = random.choice(len(options), 1, replace=False)
    return options[at]


def _present_lists(request: Request) -> tuple[HSNetLists, str | None]:
    """HSNet's lists without missing images and without classes of a single image, and ``Drawn.restricted``."""
    dataset, present = request.dataset, set(request.dataset.test.ids)
    assert dataset.spec.hsnet is not None
    names = {c: dataset.class_names[c] for c in request.classes}
    images, queries = dataset.spec.hsnet.lists(request.fold, names, dataset.test.ids, dataset.variant)
    fold = f"{dataset.name} fold {request.fold}"
    if not images:
        raise UserError(f"protocol hsnet lists no test image of these classes of {fold}; take pfenet.")
    listed = dict.fromkeys(i for own in images.values() for i in own)
    missing = [i for i in listed if i not in present]
    if missing and not request.restrict:
        raise UserError(
            f"protocol hsnet lists {len(listed):,} test images of {fold}, and {len(missing):,} are missing: "
            f"{first_of(missing)}; prepare them, take another protocol, or draw from those present "
            "(--restrict of evaluate and manifest)."
        )
    found = {c: [i for i in ids if i in present] for c, ids in images.items()}
    if few := [f"{names[c]} ({len(ids)})" for c, ids in found.items() if len(ids) < 2]:
        left_out = "left out of protocol hsnet, which needs two images of a class: %s"
        logging.getLogger(__name__).warning(left_out, first_of(few))
    found = {c: ids for c, ids in found.items() if len(ids) > 1}
    if not found:
        raise UserError(
            f"protocol hsnet needs two listed images of a class, and no class of {fold} has two; take pfenet."
        )
    kept = None if queries is None else [(i, c) for i, c in queries if i in present and c in found]
    total = sum(map(len, images.values())) if queries is None else len(queries)
    count = sum(map(len, found.values())) if kept is None else len(kept)
    return HSNetLists(found, kept), f"{count:,} of {total:,} queries" if missing else None
