"""Support sets from masks and boxes, and their errors."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.errors import UserError
from mmnet_jax.inference.supports import DISPLAYED, Box, box_label, parse_box, read_supports
from tests.data.synthetic import turned
from tests.inference.conftest import SIZE, refused


def test_a_box_is_parsed_from_four_whole_numbers():
    assert parse_box("5, 10,+25,30") == Box(x0=5, y0=10, x1=25, y1=30)
    assert str(Box(-1, 0, 2, 3)) == "-1,0,2,3"
    for text in ("", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1.5,2,3,4", "1,2,,4", "1_0,2,30,4", "1;2;3;4"):
        refused(f"box {text!r} is not four whole numbers x0,y0,x1,y1.", parse_box, text)


def test_the_label_of_a_box_and_errors_of_boxes_that_do_not_fit():
    expected = [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(box_label(Box(1, 1, 3, 4), (5, 4)), expected)
    assert box_label(Box(0, 0, 4, 5), (5, 4)).all()
    assert box_label(Box(3, 4, 4, 5), (5, 4)).sum() == 1
    corners = "(x0,y0,x1,y1 are two corners, not a corner and a size)"
    for axis, box in [("x", "2,0,2,3"), ("y", "0,3,2,3"), ("x", "3,0,2,3")]:
        message = f"box {box} is empty: {axis}1 must be larger than {axis}0 {corners}."
        refused(message, box_label, parse_box(box), (5, 4))
    for box in ("0,0,5,5", "0,0,4,6", "-1,0,3,3", "0,-1,3,3"):
        message = f"box {box} is not inside cow.jpg, which is 4 x 5 pixels."
        refused(message, box_label, parse_box(box), (5, 4), "cow.jpg")


def test_masks_and_boxes_of_the_same_pixels_are_equivalent(folder, config, supports_of):
    images = [folder / "a.jpg", folder / "b.png"]
    box = Box(5, 10, 25, 30)
    expected = supports_of("ab")
    for places in ([box, folder / "b_label.png"], [folder / "a_label.png", box], [box, box]):
        supports = read_supports(images, places, config)
        np.testing.assert_array_equal(supports.labels, expected.labels)
        np.testing.assert_array_equal(supports.images, expected.images)
        assert [example.annotation for example in supports.examples] == places


def test_a_box_refers_to_the_upright_image(folder, config):
    (folder / "stored.png").write_bytes(turned(np.asarray(Image.open(folder / "b.png")), 6))
    stored, upright = (read_supports([folder / name], [Box(5, 10, 25, 45)], config) for name in ("stored.png", "b.png"))
    np.testing.assert_array_equal(stored.labels, upright.labels)
    np.testing.assert_array_equal(stored.images, upright.images)
    with pytest.raises(UserError, match=r"not inside .*stored\.png, which is 30 x 50 pixels\.$"):
        read_supports([folder / "stored.png"], [Box(0, 0, 50, 30)], config)


def test_examples_are_scaled_down_for_display(folder, config):
    Image.new("RGB", (3000, 1500), "blue").save(folder / "large.png")
    (example,) = read_supports([folder / "large.png"], [Box(0, 0, 1500, 1500)], config).examples
    assert example.image.shape == (DISPLAYED // 2, DISPLAYED, 3)
    assert (example.mask == (np.arange(DISPLAYED) < DISPLAYED // 2)).all()
    assert (example.image == (0, 0, 255)).all()


def test_masks_of_all_modes_are_equivalent(folder, supports_of):
    expected = supports_of().labels
    mask = Image.open(folder / "a_label.png")
    palette = Image.fromarray(np.where(np.array(mask) > 0, 7, 0).astype(np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 9, 9, 9] * 128)  # index 7 is as dark as index 1
    kinds = {"one bit": mask.convert("1"), "colour": mask.convert("RGB"), "palette": palette}
    red = np.zeros((40, 60, 4), np.uint8)
    red[..., 0], red[..., 3] = np.array(mask) // 2, 255
    kinds["red with alpha"] = Image.fromarray(red)
    for image in kinds.values():
        image.save(folder / "a_label.png")
        np.testing.assert_array_equal(supports_of().labels, expected)


def test_ignored_pixels_become_255(folder, supports_of):
    mask = np.array(Image.open(folder / "a_label.png"))
    mask[10:30, 5:15] = 9
    Image.fromarray(mask).save(folder / "a_label.png")
    plain, ignoring = supports_of().labels, supports_of(ignore=9).labels
    inside = np.zeros((1, SIZE, SIZE), bool)
    inside[:, :16, :32] = True  # 40 x 60 becomes 16 x 32
    assert set(np.unique(plain[inside])) == {0, 1}
    assert ((plain == 1) & (ignoring == 255))[inside].any()
    np.testing.assert_array_equal((plain == 1)[inside], np.isin(ignoring, [1, 255])[inside])
    with pytest.raises(UserError, match=r"has no foreground: every pixel is 0 or 255\.$"):
        supports_of("b", ignore=255)


def test_invalid_supports_raise_a_user_error(folder, config):
    a, b, label, black = (folder / name for name in ("a.jpg", "b.png", "a_label.png", "black.png"))
    absent, text = folder / "c.jpg", folder / "text.jpg"
    text.write_text("not a picture")
    Image.new("L", (60, 40)).save(black)
    one_each = "each --support takes one --mask or one --support_box, but"
    needed = "each --support needs a --mask=FILE or a --support_box=x0,y0,x1,y1 that marks the class."
    for images, places, message in [
        ([a], [], needed),
        ([a, b], [label], f"{one_each} 2 --support, 1 --mask and 0 --support_box are given."),
        ([a], [label, Box(0, 0, 9, 9)], f"{one_each} 1 --support, 1 --mask and 1 --support_box are given."),
        ([a], [Box(0, 0, 61, 9)], f"box 0,0,61,9 is not inside {a}, which is 60 x 40 pixels."),
        ([b], [label], f"mask {label} is 60 x 40 pixels, but its image {b} is 30 x 50."),
        ([absent], [label], f"{absent} does not exist."),
        ([text], [label], f"{text} is not an image."),
        ([a], [black], f"mask {black} has no foreground: every pixel is 0."),
    ]:
        refused(message, read_supports, images, places, config)


def test_a_mask_with_the_image_s_unrotated_size_names_exif(folder, config):
    image, label = folder / "turned.png", folder / "stored.png"
    image.write_bytes(turned(np.asarray(Image.open(folder / "a.jpg")), 6))
    Image.open(folder / "a_label.png").transpose(Image.Transpose.ROTATE_90).save(label)
    message = f"mask {label} is 40 x 60 pixels, but its image {image} is 60 x 40 once its EXIF orientation is applied; "
    refused(message + "rotate the mask to match.", read_supports, [image], [label], config)
    (example,) = read_supports([image], [folder / "a_label.png"], config).examples
    assert example.notes == ()


def test_a_rotated_image_of_equal_mask_size_gets_a_note(folder, config):
    image = folder / "turned.png"
    image.write_bytes(turned(np.asarray(Image.open(folder / "a.jpg")), 3))
    supports = read_supports([image], [folder / "a_label.png"], config)
    expected = "turned.png is rotated by its EXIF orientation; check on the sheet that mask a_label.png fits it."
    assert supports.examples[0].notes == (expected,)
    assert read_supports([image], [Box(5, 10, 25, 30)], config).examples[0].notes == ()
    Image.open(folder / "a.jpg").save(folder / "plain.png")
    plain = read_supports([folder / "plain.png"], [folder / "a_label.png"], config)
    np.testing.assert_array_equal(supports.images, plain.images)
    np.testing.assert_array_equal(supports.labels, plain.labels)


def test_an_annotation_without_background_gets_a_note(folder, config):
    Image.new("L", (60, 40), 1).save(folder / "all.png")
    for place, name in ((folder / "all.png", "mask all.png"), (Box(0, 0, 60, 40), "box 0,0,60,40")):
        (example,) = read_supports([folder / "a.jpg"], [place], config).examples
        assert example.notes == (f"{name} leaves no background: all of a.jpg counts as the class.",)


def test_foreground_between_the_grid_points_raises_a_user_error(folder, config):
    """900 pixels become 32, and the 5 x 5 grid takes every 8th: its points are 225 pixels apart."""
    large = folder / "large.png"
    Image.new("RGB", (900, 900)).save(large)
    message = "box 30,30,200,200 has too little foreground: scaled to the network's 33 pixels, no point of "
    message += f"the 5 x 5 grid meets it; crop {large} closer to the object."
    refused(message, read_supports, [large], [Box(30, 30, 200, 200)], config)
    mask = np.zeros((900, 900), np.uint8)
    mask[1, 1] = 1
    Image.fromarray(mask).save(folder / "dot.png")
    with pytest.raises(UserError, match=r"^mask .*dot\.png has too little foreground"):
        read_supports([large], [folder / "dot.png"], config)
    seen = read_supports([large], [Box(30, 30, 260, 260)], config).labels[0, ::8, ::8]
    assert (seen == 1).sum() == 1 and seen[1, 1] == 1
