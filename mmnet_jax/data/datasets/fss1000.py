"""FSS-1000 (Li et al., 2020): 1,000 classes of ten images each, one class an image, from its class folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmnet_jax.data.datasets.class_folders import list_pairs
from mmnet_jax.data.datasets.hsnet import HSNet, HSNetLists, folder_lists
from mmnet_jax.data.datasets.lists import packaged_names, read_names, repeated
from mmnet_jax.data.datasets.sources import read_file
from mmnet_jax.data.datasets.spec import Classes, DatasetSpec, Example, Listing, TestList
from mmnet_jax.data.images import open_image
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError

PARTS = ("train", "val", "test")
"""The lists of classes: base classes, those for selection, and novel ones."""
IMAGES = sorted(str(number) for number in range(1, 11))
"""Names of a class's images, sorted as strings: 1, 10, 2 and so on."""
FOREGROUND = 128
"""Least grey value of a mask's foreground."""


def find_folder(source: Path) -> Path:
    """The folder of class folders: ``source``, or ``fewshot_data`` in it once or twice, as the archive unpacks."""
    inner = source / "fewshot_data"
    return next((folder for folder in (inner / "fewshot_data", inner) if folder.is_dir()), source)


def list_classes(folder: Path, variant: str) -> dict[str, list[str]]:
    """The classes of each part: ``protocol``, the published 520, 240 and 240, or ``folder``, those in its own lists.

    A ``UserError`` tells a list that is missing or cannot be read, or a class that stands in two.
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
                raise UserError(f"{file} names the class {name}, but {folder / name} is no folder.")
    if twice := repeated(name for part in PARTS for name in lists[part]):
        raise UserError(f"two of the lists {', '.join(f'{part}.txt' for part in PARTS)} of {folder} hold {twice}.")
    return lists


def number_classes(lists: dict[str, list[str]]) -> Classes:
    """All classes in alphabetical order, and one fold: it holds out those of the test list."""
    names = sorted(name for part in PARTS for name in lists[part])
    index = {name: i for i, name in enumerate(names, 1)}
    indices = {part: sorted(index[name] for name in lists[part]) for part in PARTS}
    return Classes(("background", *names), [indices["test"]], indices["val"], one_class=True)


def read_classes(source: Path, variant: str, folds: int | None) -> Classes | None:
    """The classes of the source folder's own lists."""
    return None if variant == "protocol" else number_classes(list_classes(find_folder(source), variant))


def list_test(variant: str) -> TestList:
    """The ten images of each published class to select on or to test, in the order that ``list_images`` finds them."""
    if variant == "folder":
        raise UserError(
            "the classes of --split=folder lie with the images; give --data_dir=DATA, where it is prepared."
        )
    names = sorted(name for part in ("val", "test") for name in packaged_names(f"fss1000_{part}"))
    return TestList([f"{name}/{number}" for name in names for number in IMAGES], None)


def hsnet_lists(fold: int, classes: Mapping[int, str], ids: Sequence[str], variant: str | None) -> HSNetLists:
    """The ten images of each published class, whether they are there or not; of a folder's own lists those there."""
    return folder_lists(classes, list_test(variant).ids if variant == "protocol" else ids)


def list_images(source: Path | None, variant: str) -> dict[str, Listing]:
    """The images of the train classes, and those of the val and test classes; classes are in alphabetical order.

    A ``UserError`` tells a list that cannot be used, or that no image at all is found.
    """
    assert source is not None
    folder = find_folder(source)
    lists = list_classes(folder, variant)
    class_names = number_classes(lists).class_names
    wanted = IMAGES if variant == "protocol" else ()
    listings = {}
    for split, parts in {"train": ("train",), "val": ("val", "test")}.items():
        names = {name for part in parts for name in lists[part]}
        classes = {name: i for i, name in enumerate(class_names) if name in names}
        listings[split] = list_pairs(folder, classes, read_example, wanted, (".jpg", ".jpeg"))
    if not any(listing.ids for listing in listings.values()):
        wanted_folder = "the folder fewshot_data, which holds CLASS/1.jpg with CLASS/1.png, is wanted"
        raise UserError(f"{source} holds no image of a class of FSS-1000 with its mask; {wanted_folder}.")
    return listings


def read_example(source: tuple[Path, Path, int]) -> Example:
    """The example of an image and its mask; a ``UserError`` names one that cannot be read, or has no foreground.

    The mask is cut at a grey value of 128, as in HSNet's protocol; its alpha channel means nothing.
    """
    image, mask, class_id = source
    grey = np.asarray(open_image(read_file(mask), str(mask)).convert("L"))
    if grey.max() < FOREGROUND:
        raise UserError(f"{mask} has no foreground: its grey values reach {grey.max()}, and {FOREGROUND} is needed.")
    label = png_bytes((grey >= FOREGROUND).astype(np.uint8))
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
    min_pixels=1,
    protocol="hsnet",
    episodes={"hsnet": 2_400, "pfenet": 2_400},
    listed=list_test,
    hsnet=HSNet(hsnet_lists),
)
