"""Images of every kind, and files that are none."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.images import read_image
from mmnet_jax.data.masks import read_mask
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from tests.data.making import jpeg

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
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    np.testing.assert_array_equal(read_image(saved(tmp_path, RGB, exif=exif)), np.rot90(RGB, -1))


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


REFUSED = [
    (read_image, RGB.astype(np.float32), r"must be uint8 .*, but this one is float32 \[2, 3, 3\]"),
    (read_image, np.zeros((3, 2, 2), np.uint8), r"but this one is uint8 \[3, 2, 2\]\."),
    (read_image, np.zeros((0, 5, 3), np.uint8), "holds no pixels"),
    (read_image, ("f.tiff", GREY.astype(np.float32)), r"f.tiff has floating-point pixels"),
    (read_image, ("i.tiff", GREY.astype(np.int32) * 100_000), r"i.tiff has more than 16 bits a pixel"),
]


@pytest.mark.parametrize(("read", "source", "sentence"), REFUSED)
def test_arrays_and_pixels_without_a_meaning_are_refused(tmp_path, read, source, sentence):
    with pytest.raises(UserError, match=sentence):
        read(saved(tmp_path, source[1], source[0]) if isinstance(source, tuple) else source)
