"""Foreground of users' own masks, in every format."""

import io

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.images import read_image
from mmnet_jax.data.masks import decode_stored, read_mask
from mmnet_jax.errors import UserError
from tests.data.synthetic import encoded, jpeg, turned, with_palette

TRUE = np.zeros((48, 64), bool)
TRUE[16:40, 8:32] = True
WHITE = np.where(TRUE, 255, 0).astype(np.uint8)
SCENE = np.random.default_rng(0).integers(0, 256, (*TRUE.shape, 3), dtype=np.uint8)
# Smooth edges: 64 and 191 on both sides of the outline.
SMOOTH = WHITE.copy()
SMOOTH[15:41, 7:33] = 64
SMOOTH[16:40, 8:32] = 191
SMOOTH[17:39, 9:31] = 255
# Class indices with an outline of 255, which is foreground unless --ignore names it.
INDICES = np.where(TRUE, 8, 0).astype(np.uint8)
INDICES[20:30, 12:20] = 15
INDICES[16, 8:32] = 255


def stacked(*channels):
    return Image.fromarray(np.stack(np.broadcast_arrays(*channels, TRUE)[: len(channels)], axis=-1).astype(np.uint8))


def coloured(values, colours):
    return Image.fromarray(np.array(colours, np.uint8)[values])


def reopened(values, kind, **options):
    """The image read back from a file of this format."""
    return Image.open(io.BytesIO(encoded(values, kind, **options)))


def transparent_palette():
    image = with_palette(np.where(TRUE, 1, 0), [9, 9, 9, 200, 0, 0])
    image.info["transparency"] = 0
    return image


RED_AND_GREEN = [0, 0, 0] * 8 + [64, 0, 0] + [0, 0, 0] * 6 + [192, 128, 128] + [0, 0, 0] * 239 + [224, 224, 192]
EIGHT = np.where(INDICES == 255, 3, INDICES // 8 + INDICES // 15)  # 0, 1, 2, 3
MASKS = {
    "0 and 255": WHITE,
    "0 and 1": WHITE // 255,
    "one bit": TRUE,
    "class indices": INDICES,
    "smooth edges": SMOOTH,
    "16 bits, 0 and 65535": WHITE.astype(np.uint16) * 257,
    "16 bits, 0 and 1": (WHITE // 255).astype(np.uint16),
    "16 bits, class indices": INDICES.astype(np.uint16),
    "16 bits, smooth": SMOOTH.astype(np.uint16) * 257,
    "16 bits, smooth, in 12": SMOOTH.astype(np.uint16) * 16,
    "16 bits, smooth, in 8": SMOOTH.astype(np.uint16),
    "32 bits, 0 and 1": (WHITE // 255).astype(np.int32),
    "32 bits, large": np.where(TRUE, 2**30, 0).astype(np.int32),
    "floating-point, 0 and 0.9": np.where(TRUE, 0.9, 0).astype(np.float32),
    "floating-point, smooth": SMOOTH.astype(np.float32) / 255,
    "grey in colour": stacked(SMOOTH, SMOOTH, SMOOTH),
    "a palette that begins with white": with_palette(1 - WHITE // 255, [255] * 3 + [0] * 3),
    "a palette with black in the middle": with_palette(2 - WHITE // 255, [9, 200, 9] * 2 + [0] * 3),
    "VOC's palette": with_palette(INDICES, RED_AND_GREEN),
    "a palette of nearly black": with_palette(WHITE // 255, [0, 0, 0, 9, 0, 0]),
    "a smooth palette of greys": with_palette(255 - SMOOTH, [[255 - i] * 3 for i in range(256)]),
    "a palette with alpha": transparent_palette(),
    "VOC's colours": coloured(EIGHT, [(0, 0, 0), (64, 0, 0), (192, 128, 128), (224, 224, 192)]),
    "one dark colour": coloured(WHITE // 255, [(0, 0, 0), (0, 5, 0)]),
    "cut out": stacked(*SCENE.transpose(2, 0, 1), WHITE),
    "cut out smoothly": stacked(*SCENE.transpose(2, 0, 1), SMOOTH),
    "grey, cut out": stacked(SCENE[..., 0], WHITE),
    "white on transparent white": stacked(255, 255, 255, WHITE),
    "opaque": stacked(WHITE, WHITE, 0, 255),
    "all transparent": stacked(WHITE, WHITE, 0, 0),
    "grey with one alpha": stacked(WHITE, 7),
    "JPEG": reopened(WHITE, "JPEG", quality=75),
    "JPEG in red": reopened(stacked(WHITE, 0, 0), "JPEG", quality=75, subsampling=0),
    "JPEG in CMYK": reopened(stacked(WHITE, WHITE, WHITE).convert("CMYK"), "JPEG", quality=75),
    "GIF": reopened(WHITE, "GIF"),
    "animated GIF": reopened(
        WHITE, "GIF", save_all=True, append_images=[Image.fromarray(255 - WHITE)], duration=9, loop=0
    ),
    "16 bits with a transparent value": reopened(np.where(TRUE, 900, 300).astype(np.uint16), "PNG", transparency=300),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_is_read_as_it_looks_from_an_array_an_image_or_a_file(tmp_path, kind):
    mask = MASKS[kind]
    image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
    file = tmp_path / ("mask.tif" if image.mode in ("F", "I", "CMYK") else "mask.png")
    image.save(file)
    sources = [mask, image, file, str(file)]
    if image.mode in ("RGB", "RGBA"):
        sources.append(np.array(image))
    for source in sources:
        np.testing.assert_array_equal(read_mask(source), TRUE)


def test_only_black_is_background_whatever_its_index_and_area():
    for colours in ([0] * 3 + [255] * 3, [255] * 3 + [0] * 3, [0] * 3 + [0, 0, 200]):
        image = with_palette(WHITE // 255, colours)
        np.testing.assert_array_equal(read_mask(image), np.array(image.convert("L")) > 0)
    np.testing.assert_array_equal(read_mask(255 - WHITE), ~TRUE)


@pytest.mark.parametrize("value", [5, 255])
def test_a_mask_without_background_is_foreground_everywhere(value):
    assert (read_mask(np.full((3, 4), value, np.uint8)) == 1).all()
    assert (read_mask(np.array([[value, 9]])) == 1).all()


def test_grey_values_are_cut_at_half_of_the_range_if_some_lie_between():
    for values, expected in [
        ([0, 1, 31, 255], [0, 1, 1, 1]),
        ([0, 1, 32, 255], [0, 0, 0, 1]),
        ([0, 127, 128, 254], [0, 0, 1, 1]),
        ([0, 200], [0, 1]),
        ([0, 31, 65535], [0, 1, 1]),
        ([0, 32767, 32768, 65535], [0, 0, 1, 1]),
        ([0.0, 0.49, 0.5, 1.0], [0, 0, 1, 1]),
    ]:
        mask = np.array([values])
        np.testing.assert_array_equal(read_mask(mask if mask.max() <= 1 else mask.astype(np.uint16)), [expected])


def test_exif_orientation_turns_a_mask(tmp_path):
    (tmp_path / "mask.png").write_bytes(turned(WHITE, 6))
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), TRUE)


def test_with_an_index_to_ignore_the_stored_values_are_class_indices():
    expected = np.where(INDICES == 255, 255, INDICES > 0)
    dark = np.where(INDICES == 255, 0, INDICES)  # without foreground if thresholded at half
    dark[0, :3] = 40, 50, 60
    integers = (INDICES, INDICES.astype(np.uint16), INDICES.astype(np.int64))
    for mask in (*integers, stacked(INDICES, 7), stacked(*[INDICES] * 3)):
        np.testing.assert_array_equal(read_mask(mask, 255), expected)
    for colours in (RED_AND_GREEN, [255] * 3 + [0] * 765):
        np.testing.assert_array_equal(read_mask(with_palette(INDICES, colours), 255), expected)
    np.testing.assert_array_equal(read_mask(dark, 60), np.where(dark == 60, 255, dark > 0))
    np.testing.assert_array_equal(read_mask(INDICES, 9), INDICES > 0)
    for mask, sentence in [
        (WHITE, r"the mask has no foreground: every pixel is 0 or 255\."),
        (MASKS["VOC's colours"], r"the mask is in colour \(RGB\); "),
        (MASKS["JPEG"], r"the mask is a JPEG image, which does not keep class indices; save masks as PNG\."),
        (WHITE / 255, r"the mask has floating-point values, which are not class indices; save them as 8-bit grey\."),
    ]:
        with pytest.raises(UserError, match=f"^{sentence}"):
            read_mask(mask, 255)


NO_FOREGROUND = "the mask has no foreground"
REFUSED = [
    (np.zeros((2, 3), np.uint8), f"{NO_FOREGROUND}: every pixel is 0."),
    (np.zeros((2, 3), bool), f"{NO_FOREGROUND}: every pixel is 0."),
    (np.zeros((2, 3)), f"{NO_FOREGROUND}: every pixel is 0."),
    (Image.new("RGB", (3, 2)), f"{NO_FOREGROUND}: every pixel is black."),
    (
        with_palette(INDICES, [0] * 768),
        f"{NO_FOREGROUND}: every pixel is black in its palette; give --ignore=255 if it holds class indices.",
    ),
    (
        np.array([[0, 45, 77]], np.uint8),
        f"{NO_FOREGROUND}: its values reach 77, and 128 is needed; give --ignore=255 if it is a grey mask of class",
    ),
    (np.array([[0.0, 0.2]]), f"{NO_FOREGROUND}: its values reach 0.2, and 0.5 is needed."),
    (np.array([[0.0, 255.0]]), "the mask has floating-point values outside 0 to 1; save it as 8-bit grey."),
    (np.array([[0.0, np.nan]]), "the mask has floating-point values outside 0 to 1; save it as 8-bit grey."),
    (np.array([[0, -1]]), "the mask has negative values; 0 is the background, and values above 0 are foreground."),
    (np.zeros((2, 3, 2), np.uint8), "a mask array must be bools, integers or floats [h, w], or uint8 [h, w, 3] or"),
    (np.zeros((0, 3), np.uint8), "a mask array must be"),
    (np.zeros((2, 3, 3), np.uint16), "a mask array must be"),
    (np.zeros((2, 3), np.complex64), "a mask array must be"),
]


@pytest.mark.parametrize(("mask", "sentence"), REFUSED)
def test_masks_without_foreground_or_of_other_values_are_refused(mask, sentence):
    with pytest.raises(UserError) as error:
        read_mask(mask)
    assert str(error.value).startswith(sentence)


def test_messages_name_the_file(tmp_path):
    Image.new("L", (3, 2)).save(tmp_path / "black.png")
    with pytest.raises(UserError, match=rf"^mask {tmp_path}/black\.png has no foreground: every pixel is 0\.$"):
        read_mask(tmp_path / "black.png")


@pytest.mark.parametrize(
    ("name", "least"),
    {"rgb_saved.gif": 1, "cutout_rgba.png": 1, "jpeg75.jpg": 0.98, "u16_65535.png": 1, "float09.tif": 1}.items(),
)
def test_masks_from_practice_equal_the_true_mask(cases, name, least):
    right, mask = (read_mask(cases / "masks" / file) == 1 for file in ("L255.png", name))
    assert (right & mask).sum() >= least * (right | mask).sum()


def test_a_turned_photograph_from_practice_fits_its_mask(cases):
    """The mean colour inside the mask differs if the photograph is not turned."""
    mask = read_mask(cases / "exif" / "o3_mask_seen.png") == 1
    image, bear = read_image(cases / "exif" / "o3.jpg"), read_image(cases / "masks" / "bear.jpg")
    right = read_mask(cases / "masks" / "L255.png") == 1
    np.testing.assert_allclose(image[mask].mean(axis=0), bear[right].mean(axis=0), atol=3)


def test_stored_values_are_decoded_from_every_kind_of_png():
    mask = np.zeros((4, 6), np.uint8)
    mask[1, 2] = 1
    mask[2, 3:] = 255
    kinds = [mask, Image.fromarray(mask > 0), Image.fromarray(mask.astype(np.uint16) * 256)]
    kinds += [with_palette(mask, [0] * 768)]  # all colours black
    kinds += [np.stack([mask, 0 * mask, mask], axis=-1), np.stack([mask, mask * 0, mask, mask * 0 + 255], axis=-1)]
    for kind in kinds:
        np.testing.assert_array_equal(decode_stored(encoded(kind), "m") != 0, mask > 0)
    with pytest.raises(UserError, match=r"^m is a JPEG image, which blurs the edges of a mask; save masks as PNG\.$"):
        decode_stored(jpeg(mask), "m")
    with pytest.raises(UserError, match=r"^m is broken"):
        decode_stored(encoded(mask)[:-30], "m")
