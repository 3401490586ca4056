"""Lists of images: the packaged ones, and the forms of users' own."""

import codecs
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.datasets.lists import coco_val_order, packaged_names, pascal_counts, read_list
from mmnet_jax.errors import UserError
from tests.data.synthetic import prepare_voc

IDS = ["2007_000032", "2008_000015"]


def test_the_lists_of_the_pfenet_protocol_are_the_published_ones():
    train, val = packaged_names("pascal5i_train"), packaged_names("voc2012_val")
    voc, sbd = packaged_names("voc2012_train"), packaged_names("sbd_train_noval")
    assert [len(ids) for ids in (train, val, voc, sbd)] == [5953, 1449, 1464, 5623]
    assert len(set(train)) == 5953 and set(train) == set(voc) | set(sbd)
    assert len(set(val)) == 1449 and not set(train) & set(val)


def test_cocos_published_val_order_holds_every_annotated_image_once():
    order = coco_val_order()
    assert (len(order), len(set(order)), order[:3]) == (40_137, 40_137, [429717, 48044, 221350])


def test_the_counts_are_of_all_masks_of_voc_and_sbd():
    counts = pascal_counts()
    assert len(counts) == 12_031 and list(counts) == sorted(counts)
    assert counts.keys() > set(packaged_names("pascal5i_train")) | set(packaged_names("voc2012_val"))
    expected = np.zeros(21, int)
    expected[[0, 1, 15]] = 129545, 4734, 866  # and 5355 ignored
    np.testing.assert_array_equal(counts["2007_000032"], expected)


LISTS = [
    "2007_000032\n2008_000015\n",
    "2007_000032\r\n\r\n  2008_000015\t\r\n",
    "2007_000032\r2008_000015",
    "2007_000032.jpg\n2008_000015.WebP\n",
    "2007_000032 1\n2008_000015  1\n",
    "2007_000001 -1\n2007_000032  1\n2007_000009  0\n2008_000015  1\n",
    "JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png\n"
    "JPEGImages/2008_000015.jpg SegmentationClassAug/2008_000015.png\n",
    "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\nVOC2012\\JPEGImages\\2008_000015.JPG\n",
    "C:\\VOC\\JPEGImages\\2007_000032.jpg C:\\VOC\\Masks\\2007_000032.png\nd:/VOC/JPEGImages/2008_000015.jpg\n",
    "2007_000032\n2008_000015\n2007_000032\n",
]


@pytest.mark.parametrize("text", LISTS)
def test_a_list_is_read_in_every_form_and_encoding(tmp_path, text):
    file, big_endian = tmp_path / "train.txt", codecs.BOM_UTF16_BE + text.encode("utf-16-be")
    for content in (*map(text.encode, ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")), big_endian):
        file.write_bytes(content)
        assert read_list(file) == IDS


def test_an_id_may_hold_dots_and_letters_of_any_language(tmp_path):
    ids = ["v1.2", "kätzchen_03.v2", unicodedata.normalize("NFD", "kätzchen"), "कुत्ता_1", "cat(2)"]
    file = tmp_path / "train.txt"
    file.write_text("".join(f"{identity}.png\n" for identity in ids))
    assert read_list(file) == ids


OTHER_FORMS = ["2007_000033,15", '"2007_000033"', "2007_000033 2", "2007_000033 cat", "a.jpg b.png"]
OTHER_FORMS += ["2007_000033 1 1", "JPEGImages/", "my cat.jpg", "#id", '{"id":3}']


@pytest.mark.parametrize("line", OTHER_FORMS)
def test_a_line_of_another_form_is_quoted_with_its_number(tmp_path, line):
    file = tmp_path / "train.txt"
    file.write_text(f"2007_000032\n\n{line}\n")
    with pytest.raises(UserError) as error:
        read_list(file)
    assert str(error.value).startswith(f"{file}, line 3: {line!r} cannot be read; a line holds an id, ")


@pytest.mark.parametrize("content", [b"", b"\n \r\n", "\n".encode("utf-16"), b"2007_000032 -1\n"])
def test_an_empty_list_is_an_error(tmp_path, content):
    file = tmp_path / "train.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{file} names no image; a line holds an id, "):
        read_list(file)


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    for content in (b"\x89PNG\r\n", b"2007\xff\n", b"\xff\xfe2007_000032"):
        (tmp_path / "train.txt").write_bytes(content)
        with pytest.raises(UserError, match=r"train\.txt is not a text in UTF-8 or UTF-16 \("):
            read_list(tmp_path / "train.txt")


def test_a_folder_with_such_a_list_is_prepared(voc, data):
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("JPEGImages/2007_000032.jpg SegmentationClassAug/2007_000032.png\n")
    (lists / "val.txt").write_bytes("2007_000033\r\n2007_000042\r\n".encode("utf-16"))
    dataset = prepare_voc(voc, data)
    assert list(dataset.train.ids) == ["2007_000032"] and list(dataset.test.ids) == ["2007_000033", "2007_000042"]


@pytest.mark.parametrize("case", ["utf16", "pfenet_paths"])
def test_lists_from_practice_are_read(cases, data, case):
    dataset = prepare_voc(cases / "voc" / case, data)
    assert (len(dataset.train), len(dataset.test)) == (4, 3)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".PNG", ".webp"])
def test_images_of_several_formats_are_found_by_id(voc, data, suffix):
    file = voc / "JPEGImages" / "2007_000032.jpg"
    with Image.open(file) as image:
        pixels = np.asarray(image)
        image.save(file.with_suffix(suffix), lossless=True)
    file.unlink()
    mask = voc / "SegmentationClassAug" / "2007_000032.png"
    mask.rename(mask.with_suffix(".PNG"))
    dataset = prepare_voc(voc, data)
    image = dataset.train.read_image(list(dataset.train.ids).index("2007_000032"))
    assert image.shape == pixels.shape
    if suffix in (".PNG", ".webp"):
        np.testing.assert_array_equal(image, pixels)
