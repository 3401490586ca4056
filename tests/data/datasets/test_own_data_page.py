"""The conversions in docs/own_data.md run and give datasets of class folders."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare
from tests.data.synthetic import encoded, jpeg

PAGE = Path(__file__).parents[3] / "docs" / "own_data.md"
HELPER, ISIC, CHEST, COLOURS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
SIZE = 40, 60
PHOTOGRAPH = jpeg(np.full((*SIZE, 3), 90, np.uint8))


def write(file, content):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_bytes(content)


def converted(code, source, tmp_path):
    exec(HELPER + code, {})
    prepare("custom", tmp_path / source, tmp_path / "data" / source)
    return open_dataset("custom", tmp_path / "data" / source, "folder")


@pytest.fixture
def left_half():
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :30] = 255
    return mask


@pytest.fixture(autouse=True)
def unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_isic_by_diagnosis(tmp_path, left_half):
    rows = ["image_id,melanoma,seborrheic_keratosis", "ISIC_0000000,0.0,0.0", "ISIC_0000001,1.0,0.0"]
    write("ISIC-2017_Training_Part3_GroundTruth.csv", "\n".join(rows).encode())
    for i in range(2):
        write(f"ISIC-2017_Training_Data/ISIC_000000{i}.jpg", PHOTOGRAPH)
        write(f"ISIC-2017_Training_Part1_GroundTruth/ISIC_000000{i}_segmentation.png", encoded(left_half))
    dataset = converted(ISIC, "isic", tmp_path)
    assert list(dataset.train.ids) == ["melanoma/ISIC_0000001", "nevus/ISIC_0000000"]
    np.testing.assert_array_equal(dataset.train.read_label(0, 1), left_half == 255)


def test_both_lungs_are_one_class(tmp_path, left_half):
    write("MontgomerySet/CXR_png/MCUCXR_0001_0.png", encoded(np.full(SIZE, 90, np.uint8)))
    for side, mask in (("left", left_half[:, ::-1]), ("right", left_half)):
        write(f"MontgomerySet/ManualMask/{side}Mask/MCUCXR_0001_0.png", encoded(mask))
    dataset = converted(CHEST, "chest", tmp_path)
    assert dataset.class_names[1:] == ["lungs"] and dataset.train.read_label(0, 1).all()


@pytest.mark.parametrize("source", ["suim", "deepglobe"])
def test_colours_are_classes(source, tmp_path, left_half):
    yellow = left_half[..., None] * np.uint8([1, 1, 0])
    write("train_val/images/d_r_1_.jpg", PHOTOGRAPH)
    write("train_val/masks/d_r_1_.bmp", encoded(yellow, "BMP"))
    write("train/119_sat.jpg", PHOTOGRAPH)
    write("train/119_mask.png", encoded(yellow))
    dataset = converted(COLOURS, source, tmp_path)
    expected = {"suim": "fish/d_r_1_", "deepglobe": "agriculture/119_sat"}[source]
    assert list(dataset.test.ids) == [expected]
    np.testing.assert_array_equal(dataset.test.read_label(0, 1), left_half == 255)
