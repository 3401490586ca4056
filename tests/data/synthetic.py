"""Small made-up images, as files and as splits in memory."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmnet_jax.data.dataset import Dataset, Split, open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.drawing.images import png_bytes

TRAIN = ["2008_000015", "2008_000008", "2007_000032"]  # ids of the protocol's train list, not in its order
VAL = ["2007_000042", "2007_000033"]


STORED: list[Callable[[np.ndarray], np.ndarray]] = [
    *(np.array, np.fliplr, lambda x: np.rot90(x, 2), np.flipud, lambda x: x.swapaxes(0, 1)),
    *(np.rot90, lambda x: np.rot90(x, 2).swapaxes(0, 1), lambda x: np.rot90(x, -1)),
]
"""Upright pixels -> stored pixels for EXIF's orientations 1 to 8."""


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The content of a file of this format."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    return encoded(pixels, "JPEG", quality=95)


def turned(pixels: np.ndarray, orientation: int) -> bytes:
    """A PNG of this EXIF orientation that is ``pixels`` when upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(STORED[orientation - 1](pixels), exif=exif)


def with_palette(indices: np.ndarray, colours: Sequence[int] | Sequence[Sequence[int]]) -> Image.Image:
    image = Image.new("P", indices.shape[::-1])
    image.putdata(indices.ravel().tolist())
    image.putpalette(np.ravel(colours).tolist())
    return image


def palette_png(mask: np.ndarray) -> bytes:
    """A mask as VOC stores it: palette colours unrelated to the indices."""
    return encoded(with_palette(mask, [(7 * i + 91) % 256 for i in range(768)]))


def write_image(voc: Path, identity: str, mask: np.ndarray) -> None:
    pixels = np.random.default_rng(len(identity)).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    (voc / "JPEGImages" / f"{identity}.jpg").write_bytes(jpeg(pixels))
    (voc / "SegmentationClassAug" / f"{identity}.png").write_bytes(palette_png(mask))


def voc_folder(parent: Path, train: Sequence[str] = (), val: Sequence[str] = ()) -> Path:
    """A VOC2012 folder in ``parent`` with lists of images, but without the images."""
    voc = parent / "VOC2012"
    for part in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (voc / part).mkdir(parents=True)
    for split, names in {"train": train, "val": val}.items():
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return voc


def write_many(voc: Path, count: int) -> None:
    """Writes a train list of ``count`` images, which are links to one file."""
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
    """A third of the rows hold the class, one row is ignored, the rest is background."""
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 3] = class_id
    mask[height // 3] = 255
    return mask


def split_of_counts(counts: Sequence[Sequence[int]]) -> Split:
    """A split of pixel counts alone (background first)."""
    table = np.array(counts, np.int64)
    return Split("train", [f"image{i}" for i in range(len(table))], table, [], 1)


def split_of_masks(masks: Sequence[np.ndarray], classes: int = 21) -> Split:
    """A split whose image i is filled with the grey value i."""
    counts = np.stack([np.bincount(mask.ravel(), minlength=256)[:classes] for mask in masks])
    images = [np.full(mask.shape, i, np.uint8) for i, mask in enumerate(masks)]
    records = [{"image": png_bytes(image), "mask": png_bytes(mask)} for image, mask in zip(images, masks, strict=True)]
    side = max(max(mask.shape) for mask in masks)
    return Split("train", [f"image{i}" for i in range(len(masks))], counts, records, side)
