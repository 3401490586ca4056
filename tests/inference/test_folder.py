"""Images of a folder, and the summary of skipped files."""

import json

import numpy as np
import pytest
from PIL import Image, features

from mmnet_jax.data.images import read_image, readable_suffixes
from mmnet_jax.inference.folder import find_images

Image.init()
PIXELS = np.full((16, 16, 3), (0, 80, 160), np.uint8)
NO_PICTURE = {".bufr", ".eps", ".grib", ".h5", ".hdf", ".palm", ".pdf", ".ps", ".wmf", ".emf"}
DEPRECATED = {".im"}
WRITABLE = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}


@pytest.mark.parametrize("suffix", sorted(WRITABLE - NO_PICTURE - DEPRECATED))
def test_every_format_that_pillow_writes_is_found_and_read(tmp_path, suffix):
    image = Image.fromarray(PIXELS)
    one_bit = suffix in (".msp", ".xbm")
    image.convert("1" if one_bit else "P" if suffix == ".blp" else "RGB").save(tmp_path / f"a{suffix}")
    (tmp_path / f"a{suffix}").rename(tmp_path / f"a{suffix.upper()}")
    (found,), left_out = find_images(tmp_path)
    assert left_out == ""
    pixels = read_image(found)
    assert pixels.shape[2] == 3
    if not one_bit and suffix not in (".blp", ".gif"):
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), PIXELS[0, 0], atol=4)


def test_no_format_without_pixels_is_found():
    assert not readable_suffixes() & NO_PICTURE
    assert {".jpg", ".jfif", ".jpe", ".mpo", ".jp2", ".png", ".tga", ".webp"} <= readable_suffixes()
    assert (".avif" in readable_suffixes()) == features.check("avif")


def test_skipped_files_are_counted_by_suffix(tmp_path, monkeypatch):
    for name in ("b.png", "a.JPG", "x.txt", "y.TXT", "notes", "c.heic", "d.HEIF", ".hidden.png", "e.xcf"):
        (tmp_path / name).touch()
    for name in ("deeper.png", "other"):
        (tmp_path / name).mkdir()
    images, left_out = find_images(tmp_path)
    assert [image.name for image in images] == ["a.JPG", "b.png"]
    package = "(HEIC, which the package pillow-heif reads: pip install pillow-heif)"
    heic = f"1 .heic {package}, 1 .heif {package}"
    assert left_out == f"{heic}, 2 .txt, 1 .xcf, 2 folders, 1 without a suffix"
    (tmp_path / "other" / "a.avif").touch()
    monkeypatch.setattr("mmnet_jax.inference.folder.readable_suffixes", lambda: {".jpg"})
    avif = "1 .avif (AVIF, which newer releases of Pillow read: pip install --upgrade pillow)"
    assert find_images(tmp_path / "other") == ([], avif)


def test_results_of_predict_are_skipped(tmp_path):
    results = ["a_mask.png", "a_overlay.png", "a.npy", "sheet.png", "predictions.json"]
    for name in ["a.png", "b_mask.png", *results]:
        (tmp_path / name).touch()
    query = {"mask": "a_mask.png", "overlay": "a_overlay.png", "logits": "a.npy"}
    (tmp_path / "predictions.json").write_text(json.dumps({"queries": [query], "sheets": ["sheet.png"]}))
    images, left_out = find_images(tmp_path)
    assert [image.name for image in images] == ["a.png", "b_mask.png"]
    assert left_out == "5 written by predict"
    for other in ("{}", "[]", "no JSON", '{"queries": [3], "sheets": []}'):
        (tmp_path / "predictions.json").write_text(other)
        images, left_out = find_images(tmp_path)
        assert [image.name for image in images] == ["a.png", "a_overlay.png", "b_mask.png", "sheet.png"]
        assert left_out.endswith("1 mask")


def test_masks_beside_their_images_are_skipped(tmp_path):
    for name in ("1.jpg", "1_mask.png", "2.png", "2_mask.PNG", "3.jpg", "3.png", "4_mask.png", "5_mask.jpg", "5.jpg"):
        (tmp_path / name).touch()
    images, left_out = find_images(tmp_path)
    assert [image.name for image in images] == ["1.jpg", "2.png", "3.jpg", "4_mask.png", "5.jpg", "5_mask.jpg"]
    assert left_out == "3 masks"
