"""PASCAL-5i (Shaban et al., 2017): VOC 2012 with SBD's masks, 20 classes in four folds, from a VOCdevkit folder."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mmnet_jax.data.datasets.hsnet import HSNet, pascal_lists
from mmnet_jax.data.datasets.lists import check_disjoint, packaged_names, pascal_counts, read_list
from mmnet_jax.data.datasets.sources import image_files, read_file
from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, TestList, contiguous
from mmnet_jax.errors import UserError

CLASSES = """
background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant
sheep sofa train tvmonitor
"""
VOC, AUGMENTED, SBD = "SegmentationClass", "SegmentationClassAug", "benchmark_RELEASE/dataset"
"""Folders of masks: VOC's own; SBD's and VOC's as PNG files; SBD's original archive."""


def find_voc(source: Path) -> Path:
    """The folder VOC2012: ``source``, or in it, or in a VOCdevkit in it; raises a ``UserError`` if there is none."""
    for folder in (source, source / "VOC2012", source / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise UserError(f"{source} holds no VOC2012/JPEGImages; give the VOCdevkit folder.")


def find_files(source: Path, voc: Path) -> tuple[dict[str, Path], dict[str, Path], bool]:
    """All images and masks of VOC 2012 and SBD, by id, and whether SBD's masks are among them.

    SBD's archive may lie in ``source``, or beside or in VOCdevkit. A mask is VOC's own if there is one, else
    SegmentationClassAug's, else SBD's.

    Raises a ``UserError`` if no folder of masks exists or SBD's archive is incomplete.
    """
    places = [folder / SBD for folder in (source, voc, *voc.absolute().parents[:2])]
    sbd = next((folder for folder in places if folder.parent.is_dir()), None)
    if sbd and not (sbd / "cls").is_dir():
        raise UserError(f"{sbd.parent} has no folder dataset/cls, SBD's masks; unpack the whole archive.")
    images = image_files(voc / "JPEGImages")
    folders = {folder: image_files(voc / folder, (".png",)) for folder in (AUGMENTED, VOC)}
    if not sbd and not any((voc / folder).is_dir() for folder in folders):
        needed = f"{AUGMENTED} (the masks of VOC 2012 and SBD as PNG files), {VOC} or SBD's {SBD}/cls"
        raise UserError(f"{voc} has no masks; add {needed}.")
    masks = folders[AUGMENTED] | folders[VOC]
    if sbd:
        images = image_files(sbd / "img") | images
        masks = image_files(sbd / "cls", (".mat",)) | masks
    return images, masks, bool(sbd) or (voc / AUGMENTED).is_dir()


def list_ids(voc: Path, variant: str) -> dict[str, list[str]]:
    """The train and val lists of a variant; those of ``folder`` lie in its ImageSets/Segmentation.

    Raises a ``UserError`` for a list that is missing or unreadable, and for lists that share an image.
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
    check_disjoint(lists, voc)
    return lists


def list_test(variant: str) -> TestList | None:
    """VOC 2012's val images with their pixel counts; None for the folder's own lists."""
    if variant == "folder":
        return None
    ids, counts = packaged_names("voc2012_val"), pascal_counts()
    return TestList(ids, np.stack([counts[i] for i in ids]))


def list_images(source: Path, variant: str) -> dict[str, Listing]:
    """The images of the train and val lists, in their order.

    Raises a ``UserError`` if a folder or list is missing, or published lists lack SBD's masks.
    """
    voc = find_voc(source)
    (images, masks, with_sbd), lists = find_files(source, voc), list_ids(voc, variant)
    if variant != "folder" and not with_sbd:
        missing = [identity not in masks for ids in lists.values() for identity in ids]
        raise UserError(
            f"{sum(missing):,} of the {len(missing):,} masks of --split={variant} are missing: {voc} has {VOC} alone, "
            f"which holds VOC 2012's. Get SBD's, the folder {AUGMENTED} or the archive benchmark_RELEASE beside "
            "VOCdevkit; or use the folder's own lists with --split=folder."
        )
    return {
        split: Listing.of_files({i: (images.get(i), masks.get(i)) for i in ids}, read_example)
        for split, ids in lists.items()
    }


def read_example(files: tuple[Path, Path]) -> Example:
    """The example of an image and its mask; raises a ``UserError`` that names a file that cannot be read."""
    image, mask = files
    stored = read_file(mask)
    indices = _read_mat(stored, mask) if mask.suffix == ".mat" else stored
    return Example(read_file(image), indices, str(image), str(mask))


def _read_mat(data: bytes, file: Path) -> UInt8[np.ndarray, "h w"]:
    """The mask in one of SBD's MATLAB files."""
    import scipy.io

    try:
        return np.asarray(scipy.io.loadmat(io.BytesIO(data))["GTcls"]["Segmentation"][0, 0], np.uint8)
    except Exception as error:  # scipy has no common error for broken files
        raise UserError(f"{file} is broken or holds no mask of SBD's, GTcls.Segmentation ({error}).") from None


PASCAL5I = DatasetSpec(
    name="pascal5i",
    class_names=tuple(CLASSES.split()),
    novel={"contiguous": contiguous(5)},
    build=list_images,
    variants={"protocol": "pascal_1shot", "trainaug": "pascal_1shot", "folder": "pascal_small"},
    source="VOCdevkit",
    layout="the lists name other images than JPEGImages and the folders of masks hold",
    listed=list_test,
    hsnet=HSNet(pascal_lists, "contiguous"),
)
