"""Building PASCAL-5i from a VOCdevkit folder."""

import os
import shutil

import numpy as np
import pytest

from mmnet_jax.cli.progress import Printer
from mmnet_jax.data.datasets.pascal5i import find_voc, packaged_ids
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from tests.data.making import TRAIN, VAL, a_mask, jpeg, palette_png, prepare_voc, write_image


def test_protocol_lists_are_the_published_ones():
    train, val = packaged_ids("pascal5i_train"), packaged_ids("voc2012_val")
    voc, sbd = packaged_ids("voc2012_train"), packaged_ids("sbd_train_noval")
    assert [len(ids) for ids in (train, val, voc, sbd)] == [5953, 1449, 1464, 5623]
    assert len(set(train)) == 5953 and set(train) == set(voc) | set(sbd)
    assert len(set(val)) == 1449 and not set(train) & set(val)


def test_records_keep_list_order_jpeg_bytes_and_mask_indices(voc, data):
    dataset = prepare_voc(voc.parent, data)
    assert list(dataset.train.ids) == TRAIN and list(dataset.test.ids) == VAL
    assert (dataset.name, dataset.test.max_side, len(dataset.class_names)) == ("pascal5i", 20, 21)
    for i, identity in enumerate(TRAIN):
        record = dataset.train.records[i]
        assert record["id"] == identity.encode()
        assert record["image"] == (voc / "JPEGImages" / f"{identity}.jpg").read_bytes()
        image, mask = dataset.train.read(i)
        assert image.shape == (12, 16, 3)
        np.testing.assert_array_equal(mask, a_mask(12, 16, 6 + i))
        # Four rows of 16 pixels hold the class, one is unknown and not counted, seven are background.
        expected = np.zeros(21, int)
        expected[[0, 6 + i]] = 112, 64
        np.testing.assert_array_equal(record["counts"], expected)
        np.testing.assert_array_equal(dataset.train.counts[i], expected)
    cv2 = pytest.importorskip("cv2")
    stored = np.frombuffer(dataset.train.records[0]["mask"], np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), a_mask(12, 16, 6))


def test_source_may_be_voc2012_vocdevkit_or_the_folder_above(voc):
    assert find_voc(voc) == find_voc(voc.parent) == find_voc(voc.parent.parent) == voc


def test_protocol_takes_what_is_there_in_its_own_order_and_says_how_many(voc, data):
    (voc / "SegmentationClassAug" / f"{VAL[0]}.png").unlink()
    dataset = prepare_voc(voc, data, "protocol")
    assert list(dataset.train.ids) == ["2008_000008", "2008_000015", "2007_000032"]
    assert list(dataset.test.ids) == ["2007_000033"]
    lines = summary("pascal5i", data, "protocol").splitlines()
    assert "train: found 3 of 5,953 images" in lines
    assert "val: found 1 of 1,449 images (1 more without a mask)" in lines


def test_one_part_may_be_empty(voc, data):
    for identity in TRAIN:
        (voc / "JPEGImages" / f"{identity}.jpg").unlink()
    dataset = prepare_voc(voc, data, "protocol")
    assert (len(dataset.train), len(dataset.test)) == (0, 2)
    assert dataset.train.counts.shape == (0, 21)


def test_summary_counts_images_of_each_class_and_names_the_next_command(voc, data):
    write_image(voc, TRAIN[0], a_mask(192, 40, 6))  # 64 rows of 40 pixels: more than 2,048
    prepare_voc(voc, data)
    text = summary("pascal5i", data, "folder")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["bus"] == ["1", "1", "0", "0"]
    assert rows["car"] == ["1", "0", "0", "0"]
    assert rows["aeroplane"] == ["0", "0", "2", "0"]
    assert f"--config=configs/pascal_small.py --workdir=WORKDIR --config.data.data_dir={data} " in text


def test_a_prepared_dataset_is_left_as_it_is_and_progress_ends_with_the_whole(voc, data, capsys):
    folder = prepare("pascal5i", voc, data, "folder", Printer())
    assert capsys.readouterr().out.startswith("pascal5i: image 5/5  ")
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert prepare("pascal5i", voc, data, "folder") == folder
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


JPEG, PNG, LIST = "JPEGImages/{}.jpg".format, "SegmentationClassAug/{}.png".format, "ImageSets/Segmentation/val.txt"
TURNED, CLASS_37, COLOUR = palette_png(a_mask(10, 20, 1)), palette_png(a_mask(20, 10, 37)), np.uint8([[[9, 99, 200]]])
FAULTS = {  # the file, its new content from the old (None: no file), and the message, in which {} is the file
    "a broken JPEG": (JPEG(TRAIN[1]), lambda data: data[:-200], "{} is broken and cannot be decoded"),
    "text for a JPEG": (JPEG(VAL[1]), lambda _: b"no image at all", "{} is not an image"),
    "a mask of another size": (PNG(VAL[0]), lambda _: TURNED, "{} is 20 x 10 pixels, but its image "),
    "a mask of another dataset": (PNG(VAL[0]), lambda _: CLASS_37, "{} holds index 37; its classes are 0 to 20, and 2"),
    "a mask in colour": (PNG(TRAIN[0]), lambda _: jpeg(COLOUR), "{} is in colour"),
    "no list": (LIST, lambda _: None, "{} does not exist"),
    "lists that leak": (LIST, lambda _: f"{VAL[0]} {TRAIN[1]}".encode(), "train.txt and val.txt of {VOC} share 1 im"),
    "unknown ids": (LIST, lambda _: b"x", "none of the 1 images of the folder lists lies in {VOC} with a mask."),
    "no masks": (PNG(""), None, "{VOC} has no folder SegmentationClassAug"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_source_is_named_and_leaves_no_dataset(voc, data, fault):
    name, change, sentence = FAULTS[fault]
    file = voc / name
    if change is None:
        shutil.rmtree(file.parent)
    elif (content := change(file.read_bytes())) is None:
        file.unlink()
    else:
        file.write_bytes(content)
    if fault == "unknown ids":
        (voc / "ImageSets/Segmentation/train.txt").write_text("")
    with pytest.raises(UserError) as error:
        prepare_voc(voc, data)
    assert str(error.value).startswith(sentence.format(file, VOC=voc))
    assert not data.exists() or os.listdir(data / "pascal5i" / "folder") == [".1.0.0.unfinished"]


def test_what_cannot_be_prepared_is_refused(voc, data, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.jpg").touch()
    for (name, source, variant), sentence in {
        ("kitti", voc, None): "unknown dataset kitti; there is pascal5i",
        ("pascal5i", voc, "thirds"): "pascal5i comes in the variants protocol and folder, but not thirds",
        ("pascal5i", tmp_path / "nowhere", None): r"--source .*nowhere is not a folder",
        ("pascal5i", tmp_path / "empty", None): "empty is an empty folder",
        ("pascal5i", tmp_path / "other", None): "other holds no VOC2012/JPEGImages; the VOCdevkit folder is wanted",
        ("pascal5i", None, None): r"^--source is missing: pascal5i is made from a folder",
    }.items():
        with pytest.raises(UserError, match=sentence):
            prepare(name, source, data, variant)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as error:
        prepare("pascal5i", voc, tmp_path / "file" / "data", "folder")
    assert error.value.filename == str(tmp_path / "file" / "data")


def test_an_image_that_cannot_be_read_is_named(voc, data):
    image = voc / "JPEGImages" / f"{TRAIN[0]}.jpg"
    image.unlink()
    image.mkdir()
    with pytest.raises(UserError) as error:
        prepare("pascal5i", voc, data)
    assert str(error.value) == f"{image} cannot be read: Is a directory; --on_error=skip leaves out such images."
    assert not data.exists()
