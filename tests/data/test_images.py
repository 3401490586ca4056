"""Pictures of every kind, and files that are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.images import decode_mask, read_image, read_mask
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from tests.data.making import jpeg, palette_png

GREY = np.array([[0, 100, 200], [255, 1, 2]], np.uint8)
RGB = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
THREE_GREYS = np.repeat(GREY[..., None], 3, axis=-1)


def saved(tmp_path, image, name="picture.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_colour_files_arrays_and_pil_images_are_one():
    image = Image.fromarray(RGB)
    np.testing.assert_array_equal(read_image(image), RGB)
    np.testing.assert_array_equal(read_image(RGB), RGB)


def test_grey_palette_and_black_and_white_become_rgb(tmp_path):
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(GREY))), THREE_GREYS)
    np.testing.assert_array_equal(read_image(GREY), THREE_GREYS)
    palette = Image.fromarray(RGB).quantize(6)
    np.testing.assert_array_equal(read_image(saved(tmp_path, palette)), np.array(palette.convert("RGB")))
    bits = Image.fromarray(GREY > 50)
    np.testing.assert_array_equal(read_image(saved(tmp_path, bits))[..., 1], np.where(GREY > 50, 255, 0))


def test_transparency_is_dropped(tmp_path):
    rgba = np.concatenate([RGB, GREY[..., None]], axis=-1)
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(rgba))), RGB)
    np.testing.assert_array_equal(read_image(rgba), RGB)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(deep))), THREE_GREYS)


def test_cmyk_becomes_rgb(tmp_path):
    flat = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow: red
    image = read_image(saved(tmp_path, flat, "picture.jpg", quality=100))
    np.testing.assert_allclose(image, np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=8)


def test_exif_orientation_turns_the_picture_and_its_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(RGB), exif=exif)), np.rot90(RGB, -1))
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(GREY), exif=exif)), np.rot90(GREY, -1))


def test_mask_is_read_as_indices_whatever_its_palette(tmp_path):
    mask = np.array([[0, 1, 15], [255, 20, 0]], np.uint8)
    (tmp_path / "mask.png").write_bytes(palette_png(mask))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask)
    np.testing.assert_array_equal(decode_mask(png_bytes(mask), "mask"), mask)


def test_masks_of_other_kinds_keep_zero_and_nonzero(tmp_path):
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(GREY > 50))), GREY > 50)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(THREE_GREYS))), GREY)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(RGB))), RGB.max(axis=-1))
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Image.fromarray(GREY.astype(np.uint16)))), GREY)
    np.testing.assert_array_equal(read_mask(GREY > 50), GREY > 50)


def test_a_dataset_mask_in_colour_is_refused(tmp_path):
    with pytest.raises(UserError, match="mask 7 is in colour; a mask has one channel"):
        decode_mask(saved(tmp_path, Image.fromarray(RGB)).read_bytes(), "mask 7")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_missing_broken_and_wrong_files_are_named(tmp_path, read):
    with pytest.raises(UserError, match=f"^{tmp_path}/gone.jpg does not exist.$"):
        read(tmp_path / "gone.jpg")
    with pytest.raises(UserError, match=f"^{tmp_path} cannot be read: Is a directory.$"):
        read(tmp_path)
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(UserError, match=f"^{tmp_path}/text.jpg is not an image.$"):
        read(tmp_path / "text.jpg")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/empty.png is not an image.$"):
        read(tmp_path / "empty.png")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for name, data in (("cut.jpg", jpeg(noise)), ("cut.png", png_bytes(noise[..., 0]))):
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(UserError, match=f"^{tmp_path}/{name} is broken and cannot be decoded"):
            read(tmp_path / name)


def test_arrays_of_other_shapes_and_types_are_refused():
    with pytest.raises(UserError, match=r"must be uint8 .*, but this one is float32 \[2, 3, 3\]"):
        read_image(RGB.astype(np.float32))
    with pytest.raises(UserError, match=r"but this one is uint8 \[3, 2, 2\]\."):
        read_image(np.zeros((3, 2, 2), np.uint8))
    with pytest.raises(UserError, match="holds no pixels"):
        read_image(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(UserError, match=r"a mask array must be uint8 \[h, w\], but this one is int64 \[2, 3\]"):
        read_mask(GREY.astype(np.int64))


def test_pixels_that_have_no_8_bit_meaning_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"f.tiff has floating-point pixels"):
        read_image(saved(tmp_path, Image.fromarray(GREY.astype(np.float32)), "f.tiff"))
    with pytest.raises(UserError, match=r"i.tiff has more than 16 bits a pixel"):
        read_image(saved(tmp_path, Image.fromarray(GREY.astype(np.int32) * 100_000), "i.tiff"))
    with pytest.raises(UserError, match=r"m.png holds values from 0 to 65535; a mask's are 0 to 255"):
        read_mask(saved(tmp_path, Image.fromarray(GREY.astype(np.uint16) * 257), "m.png"))
