"""HSNet's lists of test images, from which its protocol draws episodes."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mmnet_jax.data.datasets.lists import packaged


class HSNetLists(NamedTuple):
    """The test images of a fold."""

    images: Mapping[int, Sequence[str]]
    """For each class, in HSNet's order, the ids from which supports are drawn (and queries, if ``queries`` is None)."""
    queries: Sequence[tuple[str, int]] | None
    """Ids and classes of the queries, cycled in this order; None: each episode's class and query are drawn."""


@dataclasses.dataclass(frozen=True)
class HSNet:
    """The lists and the label rule of HSNet's protocol on one dataset."""

    lists: Callable[[int, Mapping[int, str], Sequence[str], str | None], HSNetLists]
    """(fold, its classes with their names, ids of the test split, the variant if known) -> the fold's lists."""
    folds: str | None = None
    """The folds, a key of ``DatasetSpec.novel``, that the lists are made for; None: any classes."""
    ignored_is_background: bool = False
    """Whether ignored pixels (255) of the query's label count as background; else they do not count."""


def pascal_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """HSNet's own list of (image, class) pairs of PASCAL-5i's test images."""
    lines = packaged(f"hsnet_pascal_val_fold{fold}.txt").decode().split()
    pairs = [(name, int(number)) for name, number in (line.split("__") for line in lines)]
    queries = [(name, c) for name, c in pairs if c in classes]
    return HSNetLists(_by_class(queries), queries)


def coco_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """HSNet's own lists of COCO-20i's test images: those of val2014, class by class."""
    listed = _coco()[str(fold)]
    images = {int(number): [str(i) for i in images] for number, images in listed.items() if int(number) in classes}
    return HSNetLists(images, None)


def folder_lists(classes: Mapping[int, str], ids: Sequence[str]) -> HSNetLists:
    """Test images CLASS/NUMBER as FSS-1000's: each is a query once, in the split's order; supports come by number.

    The split sorts an image by its number as a string: 1, 10, 2, ...
    """
    of_name = {name: c for c, name in classes.items()}
    queries = [(i, of_name[name]) for i in ids if (name := i.rpartition("/")[0]) in of_name]
    numbered = {}
    for c, images in _by_class(queries).items():
        by_number = dict(zip(sorted(range(len(images)), key=lambda n: str(n + 1)), images, strict=True))
        numbered[c] = [by_number[n] for n in range(len(images))]
    return HSNetLists(numbered, queries)


def _by_class(pairs: Sequence[tuple[str, int]]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, c in pairs:
        found.setdefault(c, []).append(name)
    return found


@functools.cache
def _coco() -> dict[str, dict[str, list[int]]]:
    return json.loads(packaged("hsnet_coco_val.json.gz"))
