"""``prepare_data.py check``: what is whole is said to be so, and what is damaged is named."""

import json
import shutil

import numpy as np
import pytest

from mmnet_jax.data.check import check
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.errors import UserError
from tests.data.making import prepare_voc
from tests.data.prepared_before import prepare_before


@pytest.fixture
def folder(voc, data):
    """PASCAL-5i as prepared in two variants; the first one's folder."""
    prepare("pascal5i", voc, data, "protocol")
    return prepare("pascal5i", voc, data, "folder")


def test_every_dataset_below_is_verified_by_its_checksums(folder, data):
    lines, progress = [], []
    check(data, lines.append, progress.append)
    whole = "whole, 5 images, 2 files with their checksums"
    assert lines == [f"{folder}: {whole}", f"{data}/pascal5i/protocol/1.0.0: {whole}"]
    assert progress[0].startswith("pascal5i folder: image 5/5 ")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(file):
    metadata = json.loads(file.read_text())
    metadata["splits"]["train"]["counts"][1][1] += 1
    file.write_text(json.dumps(metadata))


RECORDS = "pascal5i-train.array_record-00000-of-00001"
DAMAGES = {
    "a bit": (RECORDS, flip, "{file} is not as it was written: its SHA-256 has changed"),
    "a lost file": (RECORDS, lambda file: file.unlink(), "{file} is missing"),
    "counts": ("metadata.json", edit, "{folder}: 2008_000008 of the prepared train images has other pixel counts than"),
    "cut index": ("metadata.json", lambda file: file.write_text("{"), "{file} cannot be read ("),
    "no index": ("dataset_info.json", lambda file: file.unlink(), "{file} cannot be read ([Errno 2]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_is_named_with_what_to_do_and_the_others_are_still_verified(folder, data, damage):
    name, change, sentence = DAMAGES[damage]
    change(folder / name)
    lines = []
    with pytest.raises(UserError) as error:
        check(data, lines.append)
    assert str(error.value).startswith(sentence.format(file=folder / name, folder=folder))
    assert "python scripts/prepare_data.py pascal5i --source=VOCdevkit" in str(error.value)
    assert lines[0] == f"{folder}: damaged" and lines[1].endswith("2 files with their checksums")


def test_advice_on_several_damaged_datasets_does_not_run_together(folder, data):
    other = folder.parents[1] / "protocol" / folder.name
    for damaged in (folder, other):
        (damaged / RECORDS).unlink()
    with pytest.raises(UserError, match=f"--split=folder; {other}/{RECORDS} is missing"):
        check(data, print)


def test_without_a_dataset_there_is_nothing_to_check(tmp_path):
    with pytest.raises(UserError, match=f"^--data_dir {tmp_path} holds no prepared dataset"):
        check(tmp_path, print)


def test_a_dataset_prepared_before_is_the_same_and_is_read_through_for_want_of_checksums(voc, data, tmp_path):
    ours = prepare_voc(voc, data)
    folder = prepare_before(voc, tmp_path / "before", "folder")
    before = open_dataset("pascal5i", tmp_path / "before", "folder")
    assert before.fingerprints() == ours.fingerprints()
    for split, other in ((before.train, ours.train), (before.test, ours.test)):
        for record, expected in zip(split.records, other.records, strict=True):
            assert record.keys() == expected.keys()
            assert all(np.array_equal(record[key], expected[key]) for key in record)
    lines = []
    check(tmp_path / "before", lines.append)
    assert lines == [f"{folder}: whole, 5 images, all decoded, since it has no checksums"]
    records = {file.name: file for file in folder.glob("*train*")}
    shutil.copy(next(folder.glob("*val*")), next(iter(records.values())))
    with pytest.raises(UserError, match=f"the prepared dataset in {folder} is damaged"):
        check(tmp_path / "before", lines.append)
