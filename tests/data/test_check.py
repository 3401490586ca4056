"""``prepare_data.py check`` reports complete datasets and names damaged files."""

import json

import pytest

from mmnet_jax.data.check import check
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.prepare import prepare
from mmnet_jax.errors import UserError
from tests.data.synthetic import prepare_voc


@pytest.fixture
def folder(voc, data):
    """The folder of PASCAL-5i, prepared in two variants."""
    prepare("pascal5i", voc, data, "protocol")
    return prepare("pascal5i", voc, data, "folder")


def test_every_dataset_below_is_verified_by_its_checksums(folder, data):
    lines, progress = [], []
    check(data, lines.append, progress.append)
    whole = "complete, 5 images, 2 files with their checksums"
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
    "a bit": (
        RECORDS,
        flip,
        "{file} has changed since it was written: its SHA-256 differs; remove {folder} and ",
    ),
    "a lost file": (RECORDS, lambda file: file.unlink(), "{file} is missing"),
    "counts": ("metadata.json", edit, "{folder}: 2008_000008 of the prepared train images has other pixel counts than"),
    "cut index": ("metadata.json", lambda file: file.write_text("{"), "{file} cannot be read ("),
    "no index": ("dataset_info.json", lambda file: file.unlink(), "{file} cannot be read ([Errno 2]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_dataset_is_an_error_and_the_others_are_still_verified(folder, data, damage):
    name, change, sentence = DAMAGES[damage]
    change(folder / name)
    lines = []
    with pytest.raises(UserError) as error:
        check(data, lines.append)
    assert str(error.value).startswith(sentence.format(file=folder / name, folder=folder))
    assert "python scripts/prepare_data.py pascal5i --source=VOCdevkit" in str(error.value)
    assert lines[0] == f"{folder}: damaged, or not verifiable" and lines[1].endswith("2 files with their checksums")


def test_several_damaged_datasets_are_separate_clauses(folder, data):
    other = folder.parents[1] / "protocol" / folder.name
    for damaged in (folder, other):
        (damaged / RECORDS).unlink()
    with pytest.raises(UserError, match=f"--split=folder; {other}/{RECORDS} is missing"):
        check(data, print)


def test_a_folder_without_datasets_is_an_error(tmp_path):
    with pytest.raises(UserError, match=f"^--data_dir {tmp_path} holds no prepared dataset"):
        check(tmp_path, print)


def test_a_dataset_of_an_earlier_version_has_no_checksums(voc, data):
    ours = prepare_voc(voc, data)
    folder = data / "pascal5i" / "folder" / "1.0.0"
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({k: v for k, v in metadata.items() if k != "checksums"}))
    assert open_dataset("pascal5i", data, "folder").fingerprints() == ours.fingerprints()
    with pytest.raises(UserError, match=rf"^{folder} was prepared by an earlier version, without checksums; remove "):
        check(data, print)
