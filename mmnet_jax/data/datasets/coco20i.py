"""COCO-20i: the 80 classes of COCO 2014 in four folds, from COCO's own folders of images and annotations."""

import functools
import importlib
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmnet_jax.data.datasets.coco_masks import MASKS, PACKAGES, draw_mask
from mmnet_jax.data.datasets.hsnet import HSNet, coco_lists
from mmnet_jax.data.datasets.lists import coco_val_order
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, TestList, contiguous, interleaved
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError, listed

CLASSES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier,
toothbrush
"""
NAMES = tuple(CLASSES.replace("\n", " ").strip().split(", "))
FOLDERS = ("train2014", "val2014", "train2017", "val2017")
"""Folders of images: those of 2017 hold the same images, divided otherwise."""
NAME = re.compile(r"(?:COCO_(?:train|val)20\d\d_)?([0-9]+)")
"""An image's name without suffix. PNG files with the same ids are masks, such as COCO-Stuff's."""
LONGEST = 65_535
"""Longest side of a JPEG, pixels."""
WANTED = {"train": 82_081, "val": 40_137}
"""Images of COCO 2014 that hold an object."""


class Annotated(NamedTuple):
    """One image and what is annotated in it."""

    image: Path
    name: str
    """What messages call its mask."""
    height: int
    width: int
    """Pixels, by the annotation file."""
    annotations: bytes
    """The annotations' own JSON, an array in the file's order, compressed."""


def list_images(source: Path | None, variant: str) -> dict[str, Listing]:
    """The images with an annotation that lie in COCO's folders: train by id, val in the published order.

    Ids that the published list does not hold come last, by id. A ``UserError`` tells an annotation file that is
    missing or not COCO's, that train and val share an image, that no image at all is found, or the package to install.
    """
    assert source is not None
    _require(PACKAGES[variant])
    images: dict[int, Path] = {}
    for folder in FOLDERS:
        for stem, file in image_files(source / folder, (".jpg", ".jpeg")).items():
            if name := NAME.fullmatch(stem):
                images.setdefault(int(name[1]), file)
    listings, annotated = {}, {}
    for split, wanted in WANTED.items():
        file = source / "annotations" / f"instances_{split}2014.json"
        sources, annotated[split], classes = read_annotations(file, images)
        order = {number: place for place, number in enumerate(coco_val_order())} if split == "val" else {}
        ids = sorted(sources, key=lambda number: (order.get(number, len(order)), number))
        read = functools.partial(read_example, classes=classes, masks=variant)
        missing = [str(i) for i in sorted(annotated[split] - sources.keys())]
        listings[split] = Listing([str(i) for i in ids], [sources[i] for i in ids], read, wanted, missing=missing)
    if shared := sorted(annotated["train"] & annotated["val"]):
        both = f"instances_train2014.json and instances_val2014.json of {source}"
        raise UserError(f"{both} share {len(shared)} images, {shared[0]} among them; {_unpack(source)}.")
    if not any(listing.ids for listing in listings.values()):
        count = sum(map(len, annotated.values()))
        folders = listed(FOLDERS, "or")
        found = f"none of the {count:,} annotated images of {source} lies in its folders {folders}"
        raise UserError(f"{found}; put the folders of images there, or links to them.")
    return listings


def read_annotations(
    file: Path, images: Mapping[int, Path]
) -> tuple[dict[int, Annotated], frozenset[int], dict[int, int]]:
    """Reads an annotation file: the annotated images among ``images``, the ids of all annotated images (found or not),
    and each category's mask index.

    ``images`` holds files by id. The file is decoded item by item, so that memory holds little more than its text. A
    ``UserError`` tells a file that is missing, no COCO annotations, or of other categories.
    """
    if not file.is_file():
        raise UserError(f"{file} does not exist; {_unpack(file.parents[1])}{_only_2017(file)}.")
    sizes: dict[int, tuple[int, int]] = {}
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    categories: dict[int, str] = {}
    try:
        text = read_file(file).decode("utf-8-sig")
        for key, item, place in array_items(text):
            if key == "images":
                height, width = int(item["height"]), int(item["width"])
                if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
                    raise ValueError(f"image {item['id']} is {width} x {height} pixels")
                sizes[int(item["id"])] = height, width
            elif key == "annotations":
                places[int(item["image_id"])].append(place)
            elif key == "categories":
                categories[int(item["id"])] = str(item["name"])
    except (ValueError, TypeError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        broken = f"{file} is broken or no COCO annotation file ({reason})"
        raise UserError(f"{broken}; {_unpack(file.parents[1])}.") from None
    annotated = places.keys() & sizes.keys()  # annotations of images that the file does not list are left aside
    if not annotated:
        raise UserError(f"{file} annotates no image; {_unpack(file.parents[1])}.")
    sources = {}
    for i in annotated & images.keys():
        items = ",".join(text[start:end] for start, end in places[i])
        packed = zlib.compress(f"[{items}]".encode(), 1)
        sources[i] = Annotated(images[i], f"the mask of image {i} in {file}", *sizes[i], packed)
    return sources, frozenset(annotated), _classes(categories, file)


def array_items(text: str) -> Iterator[tuple[str, Any, tuple[int, int]]]:
    """The items of all arrays at the top of a JSON object, one at a time: the array's key, the item, its start and end.

    A ``ValueError`` tells where the text is not such an object.
    """
    decode, blank = json.JSONDecoder().raw_decode, re.compile(r"[\s,:]*")

    def after(at: int) -> int:
        return blank.match(text, at).end()  # type: ignore[union-attr]

    at = after(0)
    if text[at : at + 1] != "{":
        raise ValueError("it is not a JSON object")
    at = after(at + 1)
    while text[at : at + 1] != "}":
        key, at = decode(text, at)
        at = after(at)
        if text[at : at + 1] == "[":
            at = after(at + 1)
            while text[at : at + 1] != "]":
                item, end = decode(text, at)
                yield key, item, (at, end)
                at = after(end)
            at += 1
        else:
            _, at = decode(text, at)
        at = after(at)


def read_example(source: Annotated, classes: Mapping[int, int], masks: str) -> Example:
    """The example of an annotated image; ``classes``: category id -> mask index; ``masks``: a key of ``MASKS``."""
    annotations = json.loads(zlib.decompress(source.annotations))
    mask = draw_mask(annotations, source.height, source.width, classes, masks, source.name)
    encoded = png_bytes(mask, compress_level=1)
    return Example(read_file(source.image), encoded, str(source.image), source.name, may_be_empty=True)


def _classes(categories: Mapping[int, str], file: Path) -> dict[int, int]:
    """Category id -> mask index: ascending ids are classes 1 to 80."""
    ids = sorted(categories)
    if len(ids) != len(NAMES):
        raise UserError(f"{file} has {len(ids)} categories, but COCO has {len(NAMES)}.")
    for i, name in zip(ids, NAMES, strict=True):
        if categories[i] != name:
            raise UserError(f"{file} calls category {i} {categories[i]}, but in COCO it is {name}.")
    return {i: index for index, i in enumerate(ids, 1)}


def _unpack(source: Path) -> str:
    """What to do about an annotation file of the folder."""
    return f"unpack COCO's annotations_trainval2014.zip in {source}"


def _only_2017(file: Path) -> str:
    there = file.with_name(file.name.replace("2014", "2017")).is_file()
    return ", since the annotations of 2017 divide the images otherwise" if there else ""


def _require(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError:
        raise UserError(f"preparing coco20i needs {package}: pip install 'mmnet-jax[coco]'.") from None


COCO20I = DatasetSpec(
    name="coco20i",
    class_names=("background", *NAMES),
    # The paper counts folds 1..4 here, which would leave the 80 classes; 0..3 is what the released lists do.
    novel={"interleaved": interleaved(folds=4, size=20), "contiguous": contiguous(20)},
    build=list_images,
    variants=dict.fromkeys(MASKS, "coco_1shot"),
    variant_field="data.coco_masks",
    source="COCO",
    episodes={"pfenet": 20_000},
    listed=lambda variant: TestList([str(i) for i in coco_val_order()], None),
    hsnet=HSNet(coco_lists, "interleaved", ignored_is_background=True),
)
