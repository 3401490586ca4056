"""PASCAL-5i as a TFDS builder: VOC 2012 and SBD photographs from a VOCdevkit folder, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from mmnet_jax.data import records
from mmnet_jax.data.datasets.folds import PASCAL_CLASSES
from mmnet_jax.errors import UserError

PROTOCOL_LISTS = {"train": "pascal5i_train", "val": "voc2012_val"}
"""The lists of the `protocol` variant: VOC 2012 train with SBD's train_noval (5,953), and VOC 2012 val (1,449)."""


def packaged_ids(name: str) -> list[str]:
    """Ids of a packaged list: pascal5i_train, sbd_train_noval, voc2012_train or voc2012_val."""
    return resources.files("mmnet_jax.data").joinpath("lists", f"{name}.txt").read_text().split()


def find_voc(source: str | Path) -> Path:
    """The VOC2012 folder at, in, or one level below ``source`` (VOC2012, VOCdevkit, or the folder above).

    Raises:
      UserError: if there is none, or it has no masks.
    """
    source = Path(source)
    if not source.is_dir():
        raise UserError(f"{source} is not a folder.")
    for folder in (source, source / "VOC2012", source / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            if not (folder / "SegmentationClassAug").is_dir():
                raise UserError(
                    f"{folder} has no folder SegmentationClassAug, the masks of VOC 2012 and SBD as PNG files."
                )
            return folder
    raise UserError(f"{source} holds no VOC2012/JPEGImages; the VOCdevkit folder is wanted.")


@dataclasses.dataclass(frozen=True)
class Inventory:
    """Which images of a split's list are there."""

    wanted: int
    """Length of the list."""
    found: tuple[str, ...]
    """Ids with an image and a mask, in the list's order."""
    without_mask: int
    """Ids with an image but no mask."""


def take_inventory(voc: Path, split: str) -> dict[str, Inventory]:
    """For train and val, the images of the list that lie in ``voc``.

    Args:
      voc: the VOC2012 folder.
      split: ``"protocol"``, the published lists, or ``"folder"``, those in the folder's ImageSets/Segmentation.

    Raises:
      UserError: if a list is missing, train and val share an image, or no image at all is found.
    """
    lists = {}
    for part, name in PROTOCOL_LISTS.items():
        if split == "protocol":
            lists[part] = packaged_ids(name)
            continue
        file = voc / "ImageSets" / "Segmentation" / f"{part}.txt"
        if not file.is_file():
            raise UserError(f"{file} does not exist; --split=folder reads the folder's own lists.")
        lists[part] = list(dict.fromkeys(file.read_text().split()))
    shared = sorted(set(lists["train"]) & set(lists["val"]))
    if shared:
        raise UserError(f"train.txt and val.txt of {voc} share {len(shared)} images, {shared[0]} among them.")

    present = {file.stem for file in (voc / "JPEGImages").glob("*.jpg")}
    masked = {file.stem for file in (voc / "SegmentationClassAug").glob("*.png")}
    inventories = {
        part: Inventory(
            wanted=len(ids),
            found=tuple(i for i in ids if i in present and i in masked),
            without_mask=sum(i in present and i not in masked for i in ids),
        )
        for part, ids in lists.items()
    }
    if not any(inventory.found for inventory in inventories.values()):
        wanted = sum(inventory.wanted for inventory in inventories.values())
        raise UserError(f"none of the {wanted:,} images of the {split} lists lies in {voc} with a mask.")
    return inventories


class Pascal5i(tfds.core.GeneratorBasedBuilder):
    """PASCAL-5i (Shaban et al., 2017): VOC 2012 with SBD's masks, 20 classes in four folds."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="protocol", description="The published lists: 5,953 train and 1,449 val images."),
        tfds.core.BuilderConfig(name="folder", description="The folder's own ImageSets/Segmentation lists."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir: a VOCdevkit folder with VOC2012/{JPEGImages,SegmentationClassAug}."

    code_path = None
    """Nothing is downloaded, so no checksums are looked for beside the code; TFDS's own way of finding the code needs
    a package, importlib_resources, that it does not declare."""

    progress: Callable[[str, int, int], None] | None = None
    """Called with the split, its images done and its images in all, after each image."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=records.features(len(PASCAL_CLASSES)),
            disable_shuffling=True,  # the order of the lists is that of testing
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        voc = find_voc(Path(dl_manager.manual_dir))
        inventories = take_inventory(voc, self.builder_config.name)
        self.info.metadata["class_names"] = list(PASCAL_CLASSES)
        self.info.metadata["max_side"] = 0
        self.info.metadata["splits"] = {
            part: {"wanted": i.wanted, "without_mask": i.without_mask, "ids": list(i.found), "counts": []}
            for part, i in inventories.items()
        }
        return {part: self._generate_examples(voc, part) for part, i in inventories.items() if i.found}

    def _generate_examples(self, voc: Path, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
        index = self.info.metadata["splits"][part]
        for i, identity in enumerate(index["ids"]):
            image, mask = voc / "JPEGImages" / f"{identity}.jpg", voc / "SegmentationClassAug" / f"{identity}.png"
            try:
                data = image.read_bytes(), mask.read_bytes()
            except OSError as error:
                raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from None
            record, size = records.make_record(identity, *data, len(PASCAL_CLASSES), str(image), str(mask))
            index["counts"].append(records.pack_counts(record["counts"]))
            self.info.metadata["max_side"] = max(self.info.metadata["max_side"], *size)
            if self.progress:
                self.progress(part, i + 1, len(index["ids"]))
            yield i, record
