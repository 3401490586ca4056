"""A VOCdevkit folder of small made-up images, and where it is prepared to."""

import pytest

from tests.data.making import TRAIN, VAL, a_mask, write_image


@pytest.fixture
def voc(tmp_path):
    """VOC2012 in a VOCdevkit folder: three train and two val images, 12 x 16 or 20 x 10 pixels."""
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClassAug", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    masks = {identity: a_mask(12, 16, 6 + i) for i, identity in enumerate(TRAIN)}
    for identity, mask in {**masks, **dict.fromkeys(VAL, a_mask(20, 10, 1))}.items():
        write_image(voc, identity, mask)
    for part, ids in {"train": TRAIN, "val": VAL}.items():
        (voc / f"ImageSets/Segmentation/{part}.txt").write_text("\n".join(ids) + "\n")
    return voc


@pytest.fixture
def data(tmp_path):
    """A data folder, not there yet."""
    return tmp_path / "data"
