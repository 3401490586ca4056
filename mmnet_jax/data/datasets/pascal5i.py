"""PASCAL-5i (Shaban et al., 2017): VOC 2012 with SBD's masks, 20 classes in four folds, from a VOCdevkit folder."""

from importlib import resources
from pathlib import Path

from mmnet_jax.data.datasets.spec import DatasetSpec, Example, Listing, contiguous
from mmnet_jax.errors import UserError

CLASSES = """
background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant
sheep sofa train tvmonitor
"""
LISTS = {"train": "pascal5i_train", "val": "voc2012_val"}
"""The lists of the `protocol` variant: VOC 2012 train with SBD's train_noval (5,953), and VOC 2012 val (1,449)."""


def packaged_ids(name: str) -> list[str]:
    """Ids of a packaged list: pascal5i_train, sbd_train_noval, voc2012_train or voc2012_val."""
    return resources.files("mmnet_jax.data").joinpath("lists", f"{name}.txt").read_text().split()


def find_voc(source: Path) -> Path:
    """The VOC2012 folder at, in, or one level below ``source``; a ``UserError`` if there is none or it lacks masks."""
    for folder in (source, source / "VOC2012", source / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            if not (folder / "SegmentationClassAug").is_dir():
                masks = "SegmentationClassAug, the masks of VOC 2012 and SBD as PNG files"
                raise UserError(f"{folder} has no folder {masks}.")
            return folder
    raise UserError(f"{source} holds no VOC2012/JPEGImages; the VOCdevkit folder is wanted.")


def list_images(source: Path | None, variant: str) -> dict[str, Listing]:
    """The images of the train and val lists that lie in a VOCdevkit folder with a mask, in the lists' order.

    The lists are the published ones (``protocol``) or those in the folder's ImageSets/Segmentation (``folder``). It is
    a ``UserError`` if a list is missing, train and val share an image, or no image at all is found.
    """
    assert source is not None
    voc = find_voc(source)
    lists = {}
    for split, name in LISTS.items():
        if variant == "protocol":
            lists[split] = packaged_ids(name)
        elif (file := voc / "ImageSets" / "Segmentation" / f"{split}.txt").is_file():
            lists[split] = list(dict.fromkeys(file.read_text().split()))
        else:
            raise UserError(f"{file} does not exist; --split=folder reads the folder's own lists.")
    if shared := sorted(set(lists["train"]) & set(lists["val"])):
        raise UserError(f"train.txt and val.txt of {voc} share {len(shared)} images, {shared[0]} among them.")

    present = {file.stem for file in (voc / "JPEGImages").glob("*.jpg")}
    masked = present & {file.stem for file in (voc / "SegmentationClassAug").glob("*.png")}
    listings = {}
    for split, ids in lists.items():
        found = [i for i in ids if i in masked]
        without_mask = sum(i in present for i in ids) - len(found)
        files = [(voc / "JPEGImages" / f"{i}.jpg", voc / "SegmentationClassAug" / f"{i}.png") for i in found]
        listings[split] = Listing(found, files, read_example, len(ids), without_mask)
    if not any(listing.ids for listing in listings.values()):
        wanted = sum(listing.wanted for listing in listings.values())
        raise UserError(f"none of the {wanted:,} images of the {variant} lists lies in {voc} with a mask.")
    return listings


def read_example(files: tuple[Path, Path]) -> Example:
    """The example of an image's file and its mask's; a ``UserError`` names one that cannot be read."""
    image, mask = files
    try:
        return Example(image.read_bytes(), mask.read_bytes(), str(image), str(mask))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None


PASCAL5I = DatasetSpec(
    name="pascal5i",
    class_names=tuple(CLASSES.split()),
    novel={"contiguous": contiguous(5)},
    build=list_images,
    variants={"protocol": "pascal_1shot", "folder": "pascal_small"},
    source="VOCdevkit",
)
