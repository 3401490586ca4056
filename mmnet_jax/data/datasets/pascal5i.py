"""PASCAL-5i (Shaban et al., 2017): VOC 2012 with SBD's masks, 20 classes in four folds, from a VOCdevkit folder."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmnet_jax.data.datasets.hsnet import HSNet, pascal_lists
from mmnet_jax.data.datasets.lists import packaged_names, pascal_counts, read_list, refuse_shared
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, TestList, contiguous
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError

CLASSES = """
background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant
sheep sofa train tvmonitor
"""
VOC, AUGMENTED, SBD = "SegmentationClass", "SegmentationClassAug", "benchmark_RELEASE/dataset"
"""Folders of masks: VOC's own, SBD's with VOC's as PNG files, and SBD's original archive."""


class Files(NamedTuple):
    """The files of a source folder, by image id."""

    images: dict[str, Path]
    masks: dict[str, Path]
    """Of masks of one image VOC's own is taken, then SegmentationClassAug's."""
    with_sbd: bool
    """Whether there is a folder of SBD's masks, which VOC's own lack."""


def find_voc(source: Path) -> Path:
    """The VOC2012 folder at, in, or one level below ``source``; a ``UserError`` if there is none."""
    for folder in (source, source / "VOC2012", source / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise UserError(f"{source} holds no VOC2012/JPEGImages; the VOCdevkit folder is wanted.")


def find_files(source: Path, voc: Path) -> Files:
    """All images and masks of VOC 2012 and SBD; SBD's archive lies in ``source``, or beside or in VOCdevkit.

    A ``UserError`` tells that there is no folder of masks, or what SBD's archive lacks.
    """
    places = [folder / SBD for folder in (source, voc, *voc.absolute().parents[:2])]
    sbd = next((folder for folder in places if folder.parent.is_dir()), None)
    if sbd and not (sbd / "cls").is_dir():
        raise UserError(f"{sbd.parent} has no folder dataset/cls, SBD's masks; unpack the whole archive.")
    images = image_files(voc / "JPEGImages")
    folders = {folder: image_files(voc / folder, (".png",)) for folder in (AUGMENTED, VOC)}
    if not sbd and not any((voc / folder).is_dir() for folder in folders):
        needed = f"{AUGMENTED}, the masks of VOC 2012 and SBD as PNG files, nor {VOC}, nor SBD's {SBD}/cls"
        raise UserError(f"{voc} has no masks: there is neither {needed}.")
    masks = folders[AUGMENTED] | folders[VOC]
    if sbd:
        images = image_files(sbd / "img") | images
        masks = image_files(sbd / "cls", (".mat",)) | masks
    return Files(images, masks, bool(sbd) or (voc / AUGMENTED).is_dir())


def list_ids(voc: Path, variant: str) -> dict[str, list[str]]:
    """The train and val lists: ``protocol``, ``trainaug``, or ``folder``, those in the folder's ImageSets/Segmentation.

    A ``UserError`` tells a list that is missing or cannot be read, or that the two share an image.
    """
    val = packaged_names("voc2012_val")
    if variant == "protocol":  # VOC 2012 train and SBD's train_noval
        return {"train": packaged_names("pascal5i_train"), "val": val}
    if variant == "trainaug":
        return {"train": sorted(pascal_counts().keys() - set(val)), "val": val}
    files = {split: voc / "ImageSets" / "Segmentation" / f"{split}.txt" for split in ("train", "val")}
    for file in files.values():
        if not file.is_file():
            raise UserError(f"{file} does not exist; --split=folder reads the folder's own lists.")
    lists = {split: read_list(file) for split, file in files.items()}
    refuse_shared(lists, voc)
    return lists


def list_test(variant: str) -> TestList:
    """VOC 2012's val images with their pixel counts; a ``UserError`` of the variant whose lists lie with the images."""
    if variant == "folder":
        raise UserError("the lists of --split=folder lie with the images; give --data_dir=DATA, where it is prepared.")
    ids, counts = packaged_names("voc2012_val"), pascal_counts()
    return TestList(ids, np.stack([counts[i] for i in ids]))


def list_images(source: Path | None, variant: str) -> dict[str, Listing]:
    """The images of the train and val lists that lie in a VOCdevkit folder or SBD's with a mask, in the lists' order.

    It is a ``UserError`` if a folder or list is missing, no image at all is found, or published lists are asked for
    where there are no masks of SBD.
    """
    assert source is not None
    voc = find_voc(source)
    files, lists = find_files(source, voc), list_ids(voc, variant)
    every = [identity for ids in lists.values() for identity in ids]
    if variant != "folder" and not files.with_sbd:
        missing = sum(identity not in files.masks for identity in every)
        raise UserError(
            f"{missing:,} of the {len(every):,} masks of --split={variant} are missing: {voc} has {VOC} alone, which "
            f"holds VOC 2012's. Get SBD's, the folder {AUGMENTED} or the archive benchmark_RELEASE beside VOCdevkit; "
            "or take the folder's own lists with --split=folder."
        )
    listings = {}
    for split, ids in lists.items():
        listings[split] = Listing.of_files({i: (files.images.get(i), files.masks.get(i)) for i in ids}, read_example)
    if not any(listing.ids for listing in listings.values()):
        raise UserError(f"none of the {len(every):,} images of the {variant} lists lies in {voc} with a mask.")
    return listings


def read_example(files: tuple[Path, Path]) -> Example:
    """The example of an image's file and its mask's; a ``UserError`` names one that cannot be read."""
    image, mask = files
    encoded = read_file(mask)
    encoded = _png_of_mat(encoded, mask) if mask.suffix == ".mat" else encoded
    return Example(read_file(image), encoded, str(image), str(mask))


def _png_of_mat(data: bytes, file: Path) -> bytes:
    """The mask in a MATLAB file of SBD's, as PNG."""
    import scipy.io

    try:
        return png_bytes(np.asarray(scipy.io.loadmat(io.BytesIO(data))["GTcls"]["Segmentation"][0, 0], np.uint8))
    except Exception as error:  # whatever scipy raises on a broken file
        raise UserError(f"{file} is broken or holds no mask of SBD's, GTcls.Segmentation ({error}).") from None


PASCAL5I = DatasetSpec(
    name="pascal5i",
    class_names=tuple(CLASSES.split()),
    novel={"contiguous": contiguous(5)},
    build=list_images,
    variants={"protocol": "pascal_1shot", "trainaug": "pascal_1shot", "folder": "pascal_small"},
    source="VOCdevkit",
    listed=list_test,
    hsnet=HSNet(pascal_lists, "contiguous"),
)
