"""FSS-1000 (Li et al., 2020): 1,000 class folders of ten images; each image has one class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmnet_jax.data.datasets.class_folders import list_pairs
from mmnet_jax.data.datasets.hsnet import HSNet, HSNetLists, images_by_class
from mmnet_jax.data.datasets.lists import packaged_names, read_names, repeated
from mmnet_jax.data.datasets.sources import read_file
from mmnet_jax.data.datasets.spec import Classes, DatasetSpec, Example, Listing, TestList
from mmnet_jax.data.images import open_image
from mmnet_jax.errors import UserError

PARTS = ("train", "val", "test")
"""The lists of classes: base, val and novel."""
IMAGES = sorted(str(number) for number in range(1, 11))
"""Names of the images of a class, sorted as strings: 1, 10, 2 and so on."""
FOREGROUND = 128
"""Minimum grey value of a mask's foreground."""


def find_folder(source: Path) -> Path:
    """The folder of class folders: ``source``, or the one or two ``fewshot_data`` that the archive unpacks in it."""
    inner = source / "fewshot_data"
    return next((folder for folder in (inner / "fewshot_data", inner) if folder.is_dir()), source)


def list_classes(folder: Path, variant: str) -> dict[str, list[str]]:
    """The classes of each part: the published 520, 240 and 240 (``protocol``), or the folder's own lists (``folder``).

    Raises a ``UserError`` for a list that is missing or unreadable, and for a class in two lists.
    """
    if variant == "protocol":
        return {part: packaged_names(f"fss1000_{part}") for part in PARTS}
    lists: dict[str, list[str]] = {}
    for part in PARTS:
        file = folder / f"{part}.txt"
        if not file.is_file() and part != "val":
            raise UserError(f"{file} does not exist; --split=folder reads the folder's own lists of classes.")
        lists[part] = read_names(file) if file.is_file() else []
        for name in lists[part]:
            if not (folder / name).is_dir():
                raise UserError(f"{file} names the class {name}, but {folder / name} is not a folder.")
    if twice := repeated(name for part in PARTS for name in lists[part]):
        raise UserError(f"two of the lists {', '.join(f'{part}.txt' for part in PARTS)} of {folder} hold {twice}.")
    return lists


def number_classes(lists: dict[str, list[str]]) -> Classes:
    """All classes in alphabetical order, and one fold, whose novel classes are those of the test list."""
    names = sorted(name for part in PARTS for name in lists[part])
    index = {name: i for i, name in enumerate(names, 1)}
    indices = {part: sorted(index[name] for name in lists[part]) for part in PARTS}
    return Classes(("background", *names), [indices["test"]], indices["val"], one_class=True)


def read_classes(source: Path, variant: str, folds: int | None) -> Classes | None:
    """The classes of the source folder's own lists; None for the published ones."""
    return None if variant == "protocol" else number_classes(list_classes(find_folder(source), variant))


def list_test(variant: str) -> TestList | None:
    """The ten images of each published val or test class, in the order of ``list_images``."""
    if variant == "folder":
        return None
    names = sorted(name for part in ("val", "test") for name in packaged_names(f"fss1000_{part}"))
    return TestList([f"{name}/{number}" for name in names for number in IMAGES], None)


def hsnet_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """Each test image as a query once, in the split's order; supports by number: 1, 2 up to 10.

    Lists the ten images of each published class, prepared or not; for a folder's own lists the prepared ones.
    """
    index = {name: c for c, name in classes.items()}
    published = list_test(variant) if variant else None
    test_ids = published.ids if published else ids
    queries = [(i, index[name]) for i in test_ids if (name := i.rpartition("/")[0]) in index]
    supports = {}
    for c, images in images_by_class(queries).items():
        numbers = sorted(range(1, len(images) + 1), key=str)  # the order of ``images``
        supports[c] = [image for _, image in sorted(zip(numbers, images, strict=True))]
    return HSNetLists(supports, queries)


def list_images(source: Path, variant: str) -> dict[str, Listing]:
    """The images of the train classes, and those of the val and test classes; classes in alphabetical order.

    Raises a ``UserError`` for a list as ``list_classes`` does.
    """
    folder = find_folder(source)
    lists = list_classes(folder, variant)
    class_names = number_classes(lists).class_names
    wanted = IMAGES if variant == "protocol" else ()
    listings = {}
    for split, parts in {"train": ("train",), "val": ("val", "test")}.items():
        names = {name for part in parts for name in lists[part]}
        classes = {name: i for i, name in enumerate(class_names) if name in names}
        listings[split] = list_pairs(folder, classes, read_example, wanted, (".jpg", ".jpeg"))
    return listings


def read_example(source: tuple[Path, Path, int]) -> Example:
    """The example of an image and its mask, thresholded at a grey value of 128 as by HSNet; alpha is ignored.

    Raises a ``UserError`` that names a file that cannot be read, or a mask without foreground.
    """
    image, mask, class_id = source
    grey = np.asarray(open_image(read_file(mask), str(mask)).convert("L"))
    if grey.max() < FOREGROUND:
        raise UserError(f"{mask} has no foreground: its grey values reach {grey.max()}, and {FOREGROUND} is needed.")
    label = (grey >= FOREGROUND).astype(np.uint8)
    return Example(read_file(image), label, str(image), str(mask), class_id=class_id)


PUBLISHED = number_classes(list_classes(Path(), "protocol"))
FSS1000 = DatasetSpec(
    name="fss1000",
    class_names=PUBLISHED.class_names,
    novel={"own": PUBLISHED.novel.__getitem__},
    build=list_images,
    variants=dict.fromkeys(("protocol", "folder"), "fss1000"),
    folds=1,
    val=PUBLISHED.val,
    one_class=True,
    read_classes=read_classes,
    source="fewshot_data",
    layout="give the folder fewshot_data, which holds CLASS/1.jpg with the mask CLASS/1.png and so on",
    min_pixels=1,
    protocol="hsnet",
    episodes={"hsnet": 2_400, "pfenet": 2_400},
    listed=list_test,
    hsnet=HSNet(hsnet_lists),
)
