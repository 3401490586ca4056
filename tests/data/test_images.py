"""Reading images of every kind, and refusing other files."""

import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from mmnet_jax.data import images
from mmnet_jax.data.images import decode_image, read_image
from mmnet_jax.data.masks import read_mask
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from tests.data.synthetic import encoded, jpeg, turned

ROOT = Path(__file__).parents[2]
GREY = np.array([[0, 100, 200], [255, 1, 2]], np.uint8)
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
RGBA = np.concatenate([RGB, GREY[..., None]], axis=-1)
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=-1)
PALETTE = Image.fromarray(RGB).quantize(6)
IMAGES = {  # what is saved, and what is read
    "colour": (RGB, RGB),
    "transparent": (RGBA, RGB),
    "grey": (GREY, THREE_GREYS),
    "black and white": (GREY > 50, np.where(THREE_GREYS > 50, 255, 0)),
    "16 bits": (GREY.astype(np.uint16) * 257, THREE_GREYS),
    "palette": (PALETTE, np.array(PALETTE.convert("RGB"))),
}


def saved(tmp_path, pixels, name="image.png", **options):
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_file_becomes_rgb(tmp_path, kind):
    np.testing.assert_array_equal(read_image(saved(tmp_path, IMAGES[kind][0])), IMAGES[kind][1])


def test_arrays_and_pil_images_are_read_like_files():
    for source, expected in ((Image.fromarray(RGB), RGB), (RGB, RGB), (GREY, THREE_GREYS), (RGBA, RGB)):
        np.testing.assert_array_equal(read_image(source), expected)


def test_cmyk_becomes_rgb(tmp_path):
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow: red
    image = read_image(saved(tmp_path, flat, "image.jpg", quality=100))
    np.testing.assert_allclose(image, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=8)


def test_exif_orientation_turns_an_image(tmp_path):
    (tmp_path / "image.png").write_bytes(turned(RGB, 6))
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), RGB)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
def test_16_bit_images_are_scaled_by_the_bits_they_use(tmp_path, bits):
    values = (GREY.astype(np.uint16) << 8 | GREY) >> (16 - bits)
    np.testing.assert_array_equal(read_image(saved(tmp_path, values)), THREE_GREYS)
    np.testing.assert_array_equal(read_image(Image.fromarray(values.astype(np.int32))), THREE_GREYS)
    np.testing.assert_array_equal(decode_image(saved(tmp_path, values).read_bytes(), "image"), THREE_GREYS)


def test_16_bit_colours_that_lose_their_lower_half_are_refused(tmp_path):
    cv2 = pytest.importorskip("cv2")
    full = RGB.astype(np.uint16) * 257
    for name in ("image.png", "image.tiff"):
        path = tmp_path / name
        cv2.imwrite(str(path), full[..., ::-1])
        np.testing.assert_array_equal(read_image(path), RGB)
        cv2.imwrite(str(path), full[..., ::-1] >> 4)
        sentence = (
            "has 16 bits a channel but only small values, of which Pillow drops the lower 8 bits; scale it to 8 bits"
        )
        with pytest.raises(UserError, match=f"^{path} {sentence}"):
            read_image(path)


def test_an_image_over_pillows_limit_is_refused_and_one_over_its_warning_is_read(tmp_path, monkeypatch):
    path = saved(tmp_path, np.zeros((30, 50), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the package's filter, which pytest resets
        assert read_image(path).shape == (30, 50, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert str(error.value) == f"{path} has 1,500 pixels, and at most 1,400 are read; scale it down."


@pytest.mark.slow
def test_pillows_warning_of_a_large_image_is_silenced(tmp_path):
    path = saved(tmp_path, np.zeros((30, 50), np.uint8))
    code = "from PIL import Image; from mmnet_jax.data.images import read_image; Image.MAX_IMAGE_PIXELS = 1000; "
    command = [sys.executable, "-W", "error", "-c", f"{code}print(read_image({str(path)!r}).shape)"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("(30, 50, 3)\n", "")


def test_formats_of_other_packages_name_the_package(tmp_path):
    for brand, sentence in {
        b"heic": "HEIC, which the package pillow-heif reads: pip install pillow-heif, or save the image",
        b"mif1": "HEIC, which the package pillow-heif reads",
        b"avif": "(AVIF, which newer releases of Pillow read|broken and cannot be decoded)",
        b"isom": "not an image",
    }.items():
        path = tmp_path / "IMG_1.JPG"  # some cameras' programs rename the files
        path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(99))
        with pytest.raises(UserError, match=f"^{path} is {sentence}"):
            read_image(path)


def test_the_package_for_heic_is_registered_once_if_installed(monkeypatch):
    calls = []
    package = types.SimpleNamespace(register_heif_opener=lambda: calls.append("registered"))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    images._register_heif.cache_clear()
    read_image(Image.fromarray(RGB))
    images.open_image(png_bytes(RGB), "image")
    images.open_image(png_bytes(RGB), "image")
    assert calls == ["registered"]
    images._register_heif.cache_clear()


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_missing_broken_and_wrong_files_are_named(tmp_path, read):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    contents = {"text.jpg": b"not an image", "empty.png": b"", "cut.jpg": jpeg(noise), "cut.png": png_bytes(noise)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    for name, sentence in {
        "gone.jpg": r"does not exist\.$",
        "": r"cannot be read: Is a directory\.$",
        "text.jpg": r"is not an image\.$",
        "empty.png": r"is not an image\.$",
        "cut.jpg": "is broken and cannot be decoded",
        "cut.png": "is broken and cannot be decoded",
    }.items():
        with pytest.raises(UserError, match=f"^{tmp_path / name} {sentence}"):
            read(tmp_path / name)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_a_broken_avif_image_is_reported_as_broken(tmp_path):
    whole, file = encoded(RGB, "AVIF"), tmp_path / "a.avif"
    for content in (whole[: len(whole) // 2], whole.replace(b"pitm", b"free")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=f"^{file} is broken and cannot be decoded"):
            read_image(file)


REFUSED = [
    (read_image, RGB.astype(np.float32), r"must be uint8 .*, but this one is float32 \[2, 3, 3\]"),
    (read_image, np.zeros((3, 2, 2), np.uint8), r"but this one is uint8 \[3, 2, 2\]\."),
    (read_image, np.zeros((0, 5, 3), np.uint8), "holds no pixels"),
    (read_image, Image.new("RGB", (5, 0)), r"^the image holds no pixels\.$"),
    (read_mask, Image.new("L", (5, 0)), r"^the mask holds no pixels\.$"),
    (read_image, ("f.tiff", GREY.astype(np.float32)), r"f.tiff has floating-point pixels"),
    (read_image, ("i.tiff", GREY.astype(np.int32) * 100_000), r"i.tiff has more than 16 bits a pixel"),
]


@pytest.mark.parametrize(("read", "source", "sentence"), REFUSED)
def test_arrays_and_pixels_of_other_types_and_shapes_are_refused(tmp_path, read, source, sentence):
    with pytest.raises(UserError, match=sentence):
        read(saved(tmp_path, source[1], source[0]) if isinstance(source, tuple) else source)


def test_a_12_bit_image_from_practice_is_not_dark(cases):
    image, colours = (read_image(cases / name) for name in ("pictures/u12in16.png", "masks/bear.jpg"))
    np.testing.assert_allclose(image.mean(), colours.mean(), atol=3)
