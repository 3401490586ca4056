"""Opening a prepared dataset."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.errors import UserError
from tests.data.synthetic import a_mask, prepare_voc, split_of_masks


def test_an_unprepared_dataset_names_the_command_that_prepares_it(tmp_path):
    with pytest.raises(UserError) as error:
        open_dataset("pascal5i", tmp_path / "my data", "protocol")
    command = f"python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir='{tmp_path}/my data'"
    assert str(error.value).endswith(command)
    with pytest.raises(UserError, match=f"--data_dir={tmp_path} --split=folder$"):
        open_dataset("pascal5i", tmp_path, "folder")


def test_another_prepared_variant_is_named(voc, data):
    prepare_voc(voc, data)
    found = r"holds pascal5i of data\.split = folder, but not of protocol; prepare it with: python "
    with pytest.raises(UserError, match=found):
        open_dataset("pascal5i", data, "protocol")


def test_an_unknown_dataset_variant_or_folds_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"unknown dataset kitti: use one of pascal5i, coco20i, fss1000, custom, creatures\."
    ):
        open_dataset("kitti", tmp_path, "protocol")
    with pytest.raises(UserError, match=r"data\.folds of pascal5i must be contiguous, but is interleaved\."):
        open_dataset("pascal5i", tmp_path, "protocol", "interleaved")
    with pytest.raises(UserError, match="pascal5i comes in the variants protocol, trainaug and folder, but not thirds"):
        open_dataset("pascal5i", tmp_path, "thirds")


@pytest.mark.parametrize("damage", ["record file cut", "record file gone", "index of another split"])
def test_a_damaged_dataset_is_refused(voc, data, damage):
    folder = prepare("pascal5i", voc, data, "folder")
    records = next(folder.glob("*train.array_record*"))
    if damage == "record file cut":
        records.write_bytes(records.read_bytes()[:1000])
    elif damage == "record file gone":
        records.unlink()
    else:
        metadata = json.loads((folder / "metadata.json").read_text())
        metadata["splits"]["train"]["ids"].pop()
        (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(UserError, match=f"the prepared dataset in {folder} is damaged"):
        open_dataset("pascal5i", data, "folder")


def test_a_split_can_be_sent_to_another_process(voc, data):
    split = prepare_voc(voc, data).train
    for ours, theirs in zip(split.read(1, 7), pickle.loads(pickle.dumps(split)).read(1, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_label_marks_the_class_and_ignored_pixels():
    mask = np.uint8([[0, 1, 2, 255]])
    split = split_of_masks([mask, np.uint8([[0, 1, 1, 255]])], classes=301)
    image, label = split.read(0, 2)
    np.testing.assert_array_equal(image, split.read_image(0))
    assert label.tolist() == split.read_label(0, 2).tolist() == [[0, 0, 1, 255]] and label.dtype == np.uint8
    assert split.read_label(0, 3).tolist() == [[0, 0, 0, 255]]
    counts = np.zeros((2, 301), int)
    counts[:, 0], counts[0, 1], counts[1, 300] = 1, 2, 2
    one_class = dataclasses.replace(split, counts=counts, one_class=True)
    assert one_class.read_label(1, 300).tolist() == [[0, 1, 1, 255]]
    assert one_class.read_label(1, 1).tolist() == [[0, 0, 0, 255]]  # the mask holds 1, but of class 300
    np.testing.assert_array_equal(one_class.read_mask(0), mask)


@pytest.mark.parametrize("part", ["ids", "counts", "records", "max_side", "one_class"])
def test_a_fingerprint_depends_on_every_part_of_a_split(part):
    split = split_of_masks([a_mask(20, 30, 1), a_mask(20, 30, 2)])
    changes = {"ids": ["image0", "other"], "counts": split.counts + 1, "records": split.records[::-1], "max_side": 31}
    changes["one_class"] = True
    assert dataclasses.replace(split, **{part: changes[part]}).fingerprint() != split.fingerprint()
    assert dataclasses.replace(split).fingerprint() == split.fingerprint()
