"""A VOCdevkit folder of small synthetic images, and a data folder."""

import pytest

from tests.data.synthetic import TRAIN, VAL, a_mask, voc_folder, write_image


@pytest.fixture
def voc(tmp_path):
    """VOC2012 in a VOCdevkit folder: three train and two val images, 12 x 16 or 20 x 10 pixels."""
    voc = voc_folder(tmp_path / "VOCdevkit", TRAIN, VAL)
    masks = {identity: a_mask(12, 16, 6 + i) for i, identity in enumerate(TRAIN)}
    for identity, mask in {**masks, **dict.fromkeys(VAL, a_mask(20, 10, 1))}.items():
        write_image(voc, identity, mask)
    return voc


@pytest.fixture
def data(tmp_path):
    """A data folder that does not exist yet."""
    return tmp_path / "data"
