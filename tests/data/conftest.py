"""A VOCdevkit folder of small made-up pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.making import TRAIN, VAL, a_mask, write_image


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """VOC2012 in a VOCdevkit folder: three train and two val images, 12 x 16 or 20 x 10 pixels."""
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    for i, identity in enumerate(TRAIN):
        write_image(voc, identity, a_mask(12, 16, 6 + i))
    for identity in VAL:
        write_image(voc, identity, a_mask(20, 10, 1))
    (voc / "ImageSets/Segmentation/train.txt").write_text("\n".join(TRAIN) + "\n")
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(VAL) + "\n")
    return voc
