"""HSNet's lists of test images, from which its protocol draws episodes."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mmnet_jax.data.datasets.lists import packaged


class HSNetLists(NamedTuple):
    """The test images of a fold."""

    images: Mapping[int, Sequence[str]]
    """For each class, in HSNet's order, the ids to draw supports from (and queries, if ``queries`` is None)."""
    queries: Sequence[tuple[str, int]] | None
    """Ids and classes of the queries, cycled in this order; None: the class and query of each episode are drawn."""


@dataclasses.dataclass(frozen=True)
class HSNet:
    """Lists and label rule of HSNet's protocol on one dataset."""

    lists: Callable[[int, Mapping[int, str], Sequence[str], str | None], HSNetLists]
    """(fold, its classes with their names, ids of the test split, variant if known) -> lists of the fold."""
    folds: str | None = None
    """The folds, a key of ``DatasetSpec.novel``, that the lists are made for; None: any classes."""
    ignored_is_background: bool = False
    """Whether ignored pixels (255) of a query's label count as background; otherwise they do not count."""


def pascal_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """HSNet's list of (image, class) pairs of PASCAL-5i's test images."""
    pairs = [line.split("__") for line in packaged(f"hsnet_pascal_val_fold{fold}.txt").decode().split()]
    queries = [(name, int(number)) for name, number in pairs if int(number) in classes]
    return HSNetLists(images_by_class(queries), queries)


def coco_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """HSNet's lists of COCO-20i's test images: val2014, class by class."""
    lists = json.loads(packaged("hsnet_coco_val.json.gz"))[str(fold)]
    return HSNetLists({int(c): [str(i) for i in images] for c, images in lists.items() if int(c) in classes}, None)


def images_by_class(pairs: Sequence[tuple[str, int]]) -> dict[int, list[str]]:
    """Class -> ids of its images, in the order of the (image, class) pairs."""
    found: dict[int, list[str]] = {}
    for name, c in pairs:
        found.setdefault(c, []).append(name)
    return found
