"""Small made-up images, as files and as splits that live in memory."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmnet_jax.data.dataset import Dataset, Split, open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.drawing.images import png_bytes

TRAIN = ["2008_000015", "2008_000008", "2007_000032"]  # ids of the protocol's train list, not in its order
VAL = ["2007_000042", "2007_000033"]


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def palette_png(mask: np.ndarray) -> bytes:
    """A mask as VOC stores it: palette colours that have nothing to do with the indices."""
    image = Image.fromarray(mask).convert("P")
    image.putdata(mask.ravel().tolist())
    image.putpalette([(7 * i + 91) % 256 for i in range(768)])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_image(voc: Path, identity: str, mask: np.ndarray) -> None:
    pixels = np.random.default_rng(len(identity)).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    (voc / "JPEGImages" / f"{identity}.jpg").write_bytes(jpeg(pixels))
    (voc / "SegmentationClassAug" / f"{identity}.png").write_bytes(palette_png(mask))


def write_many(voc: Path, count: int) -> None:
    """A train list of so many images, which are links to one."""
    names = [f"made_up_{i}" for i in range(count)]
    write_image(voc, names[0], a_mask(60, 80, 1))
    for name in names[1:]:
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClassAug", "png")):
            (voc / folder / f"{name}.{suffix}").hardlink_to(voc / folder / f"{names[0]}.{suffix}")
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(names))


def prepare_voc(voc: Path, data_dir: Path, variant: str = "folder") -> Dataset:
    prepare("pascal5i", voc, data_dir, variant)
    return open_dataset("pascal5i", data_dir, variant)


def a_mask(height: int, width: int, class_id: int) -> np.ndarray:
    """A third of the rows hold the class, one row is unknown, the rest is background."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 3] = class_id
    mask[height // 3] = 255
    return mask


def split_of_counts(counts: Sequence[Sequence[int]]) -> Split:
    """A split of which nothing but the pixel counts is known (background first)."""
    table = np.array(counts, np.int64)
    return Split("train", [f"image{i}" for i in range(len(table))], table, [], 1)


def split_of_masks(masks: Sequence[np.ndarray], classes: int = 21) -> Split:
    """A split whose image i is filled with the grey value i."""
    counts = np.stack([np.bincount(mask.ravel(), minlength=256)[:classes] for mask in masks])
    images = [np.full(mask.shape, i, np.uint8) for i, mask in enumerate(masks)]
    records = [{"image": png_bytes(image), "mask": png_bytes(mask)} for image, mask in zip(images, masks, strict=True)]
    side = max(max(mask.shape) for mask in masks)
    return Split("train", [f"image{i}" for i in range(len(masks))], counts, records, side)
