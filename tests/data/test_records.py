"""Records of images: stored bytes, EXIF orientation, and the masks that are refused."""

import io

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.datasets.pascal5i import read_example
from mmnet_jax.data.datasets.spec import Example
from mmnet_jax.data.images import decode_image
from mmnet_jax.data.masks import decode_mask
from mmnet_jax.data.records import make_record
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.errors import UserError
from tests.data.synthetic import a_mask, encoded, jpeg, palette_png, turned, with_palette

SEEN = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
MASK = a_mask(4, 6, 15)


def record_of(image, mask, classes=21, **options):
    return make_record("a", Example(image, mask, "a.jpg", "a.png", **options), classes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_and_masks_are_stored_upright(orientation):
    image = turned(SEEN, orientation)
    for mask in (png_bytes(MASK), turned(MASK, orientation)):
        record, size = record_of(image, mask)
        np.testing.assert_array_equal(decode_image(record["image"], "a"), SEEN)
        np.testing.assert_array_equal(decode_mask(record["mask"], "a"), MASK)
        assert size == (4, 6)
        assert (record["image"] == image) == (orientation == 1)
        assert Image.open(io.BytesIO(record["image"])).getexif().get(0x0112, 1) == 1


def test_a_mask_of_the_unturned_image_is_refused_with_advice():
    with pytest.raises(UserError) as error:
        record_of(turned(SEEN, 6), png_bytes(np.rot90(MASK)))
    expected = "a.png is 4 x 6 pixels, but its image a.jpg is 6 x 4 once its EXIF orientation is applied; "
    assert str(error.value) == expected + "rotate the mask to match."
    with pytest.raises(UserError, match=r"^a\.png is 5 x 6 pixels, but its image a\.jpg is 6 x 4\.$"):
        record_of(turned(SEEN, 6), png_bytes(np.ones((6, 5), np.uint8)))


def voc_colour(index):
    """Bits of the index, lowest first, go to red, green and blue in turn, highest bit first."""
    colour = [0, 0, 0]
    for bit in range(8):
        colour[bit % 3] += (index >> bit & 1) << (7 - bit // 3)
    return colour


def test_a_palettes_indices_are_kept_whatever_its_colours():
    kinds = [
        [voc_colour(i) for i in range(256)],
        [voc_colour(i) for i in range(21)],  # ends before 255
        [(i, i, i) for i in range(256)],
        [(128 * (i > 0),) * 3 for i in range(256)],
    ]
    for mask in [palette_png(MASK), *(encoded(with_palette(MASK, colours)) for colours in kinds)]:
        np.testing.assert_array_equal(decode_mask(mask, "a"), MASK)


def test_vocs_colours_at_other_indices_are_refused():
    brightest_first = {0: 2, 15: 1, 255: 0}  # as some editors sort a palette
    renumbered = np.vectorize(brightest_first.get)(MASK).astype(np.uint8)
    with pytest.raises(UserError) as error:
        record_of(png_bytes(SEEN), encoded(with_palette(renumbered, [voc_colour(i) for i in (255, 15, 0)])))
    assert str(error.value) == (
        "the colours and indices of a.png disagree: index 0 has the colour of VOC's index 255, so an editor may have "
        "renumbered them; take the original mask, or save it as grey if its indices are right."
    )


BINARY = np.where(MASK == 15, 255, 0).astype(np.uint8)
ADVICE = "where 0 is the background and 255 is ignored; write the index of each pixel's class, 1 to 20."
REFUSED = {
    "0 and 255": (png_bytes(BINARY), f"a.png shows no class: it holds only 0 and 255, {ADVICE}"),
    "one bit": (encoded(BINARY > 0), f"a.png shows no class: it holds only 0 and 255, {ADVICE}"),
    "a palette of two": (palette_png(BINARY), f"a.png shows no class: it holds only 0 and 255, {ADVICE}"),
    "background": (png_bytes(0 * BINARY), f"a.png shows no class: it holds only 0, {ADVICE}"),
    "ignored": (png_bytes(0 * BINARY + 255), f"a.png shows no class: it holds only 255, {ADVICE}"),
    "in colour": (
        png_bytes(SEEN),
        "a.png is in colour (RGB); class indices have one channel, so take one, or convert the colours to indices.",
    ),
    "grey in colour": (png_bytes(np.repeat(MASK[..., None], 3, axis=-1)), "a.png is in colour (RGB); class indices "),
    "a JPEG": (jpeg(MASK), "a.png is a JPEG image, which does not keep class indices; save masks as PNG."),
    "16 bits": (encoded(BINARY.astype(np.uint16) * 257), "a.png holds values from 0 to 65535; masks hold 0 to 255."),
    "floating-point": (
        encoded(MASK.astype(np.float32), "TIFF"),
        "a.png has floating-point values, which are not class indices; save them as 8-bit grey.",
    ),
    "another dataset": (
        png_bytes(MASK // 15 * 37 * (MASK < 255)),
        "a.png holds index 37; its classes are 0 to 20, and 255 is ignored.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_masks_that_hold_no_class_indices_are_refused(kind):
    mask, sentence = REFUSED[kind]
    with pytest.raises(UserError) as error:
        record_of(png_bytes(SEEN), mask)
    assert str(error.value).startswith(sentence)


def test_a_mask_drawn_from_annotations_may_show_no_class():
    for mask in (0 * MASK, BINARY):
        record, _ = record_of(png_bytes(SEEN), png_bytes(mask), may_be_empty=True)
        np.testing.assert_array_equal(decode_mask(record["mask"], "a"), mask)
        assert record["counts"][1:].sum() == 0


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("bin255", "shows no class: it holds only 0 and 255"),
        ("palette_requantised", "colours and indices of .* disagree"),
    ],
)
def test_masks_of_these_kinds_from_practice_are_refused(cases, case, sentence):
    voc = cases / "voc" / case / "VOC2012"
    for mask in sorted((voc / "SegmentationClassAug").iterdir()):
        example = read_example((voc / "JPEGImages" / f"{mask.stem}.jpg", mask))
        with pytest.raises(UserError, match=sentence):
            make_record(mask.stem, example, 21)
