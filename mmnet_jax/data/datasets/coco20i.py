"""COCO-20i: the 80 classes of COCO 2014 in four folds, from COCO's own folders of images and annotations."""

import functools
import importlib
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmnet_jax.data.datasets.coco_masks import MASKS, PACKAGES, draw_mask
from mmnet_jax.data.datasets.hsnet import HSNet, coco_lists
from mmnet_jax.data.datasets.lists import check_disjoint, coco_val_order
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, TestList, contiguous, interleaved
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
"""Number of images with an object in COCO 2014."""


class Annotated(NamedTuple):
    """One image and its annotations."""

    image: Path
    mask_name: str
    """Name of its mask in messages."""
    height: int
    width: int
    """Pixels, by the annotation file."""
    annotations: bytes
    """JSON array of its annotations, in the file's order, compressed by zlib."""


def list_images(source: Path, variant: str) -> dict[str, Listing]:
    """The annotated images in COCO's folders: train by id, val in the published order and then by id.

    Raises a ``UserError`` for an annotation file that is missing or broken, for train and val that share an image, and
    for a package that is not installed.
    """
    try:
        importlib.import_module(PACKAGES[variant])
    except ImportError:
        raise UserError(f"preparing coco20i needs {PACKAGES[variant]}: pip install 'mmnet-jax[coco]'.") from None
    images: dict[int, Path] = {}
    for folder in FOLDERS:
        for stem, file in image_files(source / folder, (".jpg", ".jpeg")).items():
            if name := NAME.fullmatch(stem):
                images.setdefault(int(name[1]), file)
    listings, annotated, instances = {}, {}, "instances_{}2014.json"
    for split, wanted in WANTED.items():
        found, missing, classes = read_annotations(source / "annotations" / instances.format(split), images)
        order = {number: place for place, number in enumerate(coco_val_order())} if split == "val" else {}
        ids = sorted(found, key=lambda number: (order.get(number, len(order)), number))
        read = functools.partial(read_example, classes=classes, masks=variant)
        listings[split] = Listing([str(i) for i in ids], [found[i] for i in ids], read, wanted, missing=missing)
        annotated[split] = [*listings[split].ids, *missing]
    check_disjoint(annotated, source, instances, f"; {_advice(source)}")
    return listings


def read_annotations(file: Path, images: Mapping[int, Path]) -> tuple[dict[int, Annotated], list[str], dict[int, int]]:
    """Reads an annotation file.

    Args:
      images: id -> image file.

    Returns:
      The annotated images in ``images``, by id; the ids of those not in it, ascending; category id -> mask index.

    Raises:
      UserError: the file is missing, no COCO annotation file, or has other categories.
    """
    advice = _advice(file.parents[1])
    if not file.is_file():
        raise UserError(f"{file} does not exist; {advice}.")
    texts: dict[int, list[str]] = defaultdict(list)

    def compact(item: dict[str, Any]) -> dict[str, Any] | None:
        """Keeps an annotation as text: as objects, all annotations of COCO would take gigabytes."""
        if "image_id" not in item:
            return item
        texts[item["image_id"]].append(json.dumps(item) if item["image_id"] in images else "")
        return None

    try:
        content = json.loads(read_file(file).decode("utf-8-sig"), object_hook=compact)
        sizes = {item["id"]: (int(item["height"]), int(item["width"])) for item in content["images"]}
        for i, (height, width) in sizes.items():
            if not (1 <= height <= LONGEST and 1 <= width <= LONGEST):
                raise ValueError(f"image {i} is {width} x {height} pixels")
        categories = {int(item["id"]): item["name"] for item in content["categories"]}
    except (ValueError, TypeError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{file} is broken or not a COCO annotation file ({reason}); {advice}.") from None
    ids = sorted(categories)
    if [categories[i] for i in ids] != list(NAMES):
        raise UserError(f"{file} has other categories than COCO's {len(NAMES)}; {advice}.")
    annotated = texts.keys() & sizes.keys()  # annotations of images that the file does not list are ignored
    if not annotated:
        raise UserError(f"{file} annotates no image; {advice}.")
    found = {}
    for i in annotated & images.keys():
        packed = zlib.compress(f"[{','.join(texts[i])}]".encode(), 1)
        found[i] = Annotated(images[i], f"the mask of image {i} in {file}", *sizes[i], packed)
    return found, [str(i) for i in sorted(annotated - found.keys())], {c: index for index, c in enumerate(ids, 1)}


def read_example(source: Annotated, classes: Mapping[int, int], masks: str) -> Example:
    """The example of an annotated image; ``classes``: category id -> mask index; ``masks``: a key of ``MASKS``."""
    annotations = json.loads(zlib.decompress(source.annotations))
    mask = draw_mask(annotations, source.height, source.width, classes, masks, source.mask_name)
    return Example(read_file(source.image), mask, str(source.image), source.mask_name, may_be_empty=True)


def _advice(source: Path) -> str:
    return f"unpack COCO's annotations_trainval2014.zip in {source}, since those of 2017 divide the images otherwise"


COCO20I = DatasetSpec(
    name="coco20i",
    class_names=("background", *NAMES),
    # The paper counts folds 1..4 here, which would leave the 80 classes; the released lists count 0..3.
    novel={"interleaved": interleaved(folds=4, size=20), "contiguous": contiguous(20)},
    build=list_images,
    variants=dict.fromkeys(MASKS, "coco_1shot"),
    variant_field="data.coco_masks",
    source="COCO",
    layout=f"put COCO's folders {listed(FOLDERS, 'or')} there, or links to them",
    episodes={"pfenet": 20_000},
    listed=lambda variant: TestList([str(i) for i in coco_val_order()], None),
    hsnet=HSNet(coco_lists, "interleaved", ignored_is_background=True),
)
