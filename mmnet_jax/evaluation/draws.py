"""Draws of test episodes: PFENet's rules, on the images that are large enough, and HSNet's, on its own lists."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.hsnet import HSNetLists
from mmnet_jax.data.episodes import EpisodeIndex, testing_episode
from mmnet_jax.errors import UserError, first_of

SHOWN = 5
"""Images and classes that a message names."""


class Episode(NamedTuple):
    """One test episode: its images by id, its class by name."""

    query: str
    class_name: str
    supports: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """As manifests hold it."""
        return {"query": self.query, "class": self.class_name, "supports": list(self.supports)}


@dataclasses.dataclass(frozen=True)
class Request:
    """The images and classes that episodes are drawn from, and how many are drawn."""

    dataset: Dataset
    fold: int
    classes: tuple[int, ...]
    shots: int
    seeds: Sequence[int]
    episodes: int
    """For each seed."""
    min_pixels: int
    """Pixels of a class that admit an image to PFENet's lists."""
    restrict: bool = False
    """Whether to draw from HSNet's lists without the images that are missing."""


class Drawn(NamedTuple):
    """Episodes drawn by a protocol's rules."""

    episodes: tuple[Episode, ...]
    """Those of all seeds, one seed after the other."""
    restricted: str | None = None
    """The part of HSNet's lists that was there, such as ``48 of 451 queries``; None: all of it."""


def draw_pfenet(request: Request) -> Drawn:
    """Queries in the list's order, cycled, and supports distinct; see ``testing_episode``.

    Every seed starts at the head of the list. Raises ``UserError`` where no class has enough images.
    """
    dataset, count = request.dataset, range(request.episodes)
    ids, names = dataset.test.ids, dataset.class_names
    if not np.any(dataset.test.counts):
        unknown = f"the pixels of each class in the images of {dataset.name} are not packaged"
        raise UserError(f"{unknown}, and this protocol asks for them; give --data_dir=DATA, where it is prepared.")
    index = EpisodeIndex.build(dataset.test, request.classes, request.min_pixels, request.shots, class_names=names)
    specs = (testing_episode(index, seed, i) for seed in request.seeds for i in count)
    return Drawn(tuple(Episode(ids[e.query], names[e.class_id], tuple(ids[s] for s in e.supports)) for e in specs))


def draw_hsnet(request: Request) -> Drawn:
    """HSNet's episodes, its own for seed 0: from NumPy's legacy generator, which never changes, draw by draw.

    A support is drawn from the class's list, again while it is the query; supports may repeat. Raises ``UserError``
    where listed images are missing and not ``request.restrict``.
    """
    lists, restricted = _present(request)
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
    """One of the options, drawn as HSNet does it."""
    (at,) = random.choice(len(options), 1, replace=False)
    return options[at]


def _present(request: Request) -> tuple[HSNetLists, str | None]:
    """HSNet's lists of the images that are there, without classes of a single image, and ``Drawn.restricted``."""
    dataset, present = request.dataset, set(request.dataset.test.ids)
    assert dataset.spec.hsnet is not None
    names = {c: dataset.class_names[c] for c in request.classes}
    images, queries = dataset.spec.hsnet.lists(request.fold, names, dataset.test.ids, dataset.variant)
    fold = f"{dataset.name} fold {request.fold}"
    if not images:
        raise UserError(f"protocol hsnet lists no test image of the classes that are asked for in {fold}; take pfenet.")
    listed = dict.fromkeys(i for own in images.values() for i in own)
    missing = [i for i in listed if i not in present]
    if missing and not request.restrict:
        raise UserError(
            f"protocol hsnet lists {len(listed):,} test images of {fold}, and {len(missing):,} are missing: "
            f"{first_of(missing, SHOWN)}; prepare them, take another protocol, or draw from "
            "those that are there (--restrict of evaluate and manifest)."
        )
    there = {c: [i for i in own if i in present] for c, own in images.items()}
    if few := [f"{names[c]} ({len(own)})" for c, own in there.items() if len(own) < 2]:
        left_out = "left out of protocol hsnet, which needs two images of a class: %s"
        logging.getLogger(__name__).warning(left_out, first_of(few, SHOWN))
    there = {c: own for c, own in there.items() if len(own) > 1}
    if not there:
        raise UserError(f"protocol hsnet needs two listed images of a class, and the test images of {fold} have none.")
    kept = None if queries is None else [(i, c) for i, c in queries if i in present and c in there]
    total = sum(map(len, images.values())) if queries is None else len(queries)
    count = sum(map(len, there.values())) if kept is None else len(kept)
    return HSNetLists(there, kept), f"{count:,} of {total:,} queries" if missing else None
