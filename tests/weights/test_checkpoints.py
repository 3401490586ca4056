import io
import pickle
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mmnet_jax.errors import UserError
from mmnet_jax.weights import read_checkpoint, read_state_dict
from mmnet_jax.weights.checkpoints import read_checkpoints

STORED = Path(__file__).parent / "pytorch_files"
"""Files of PyTorch 2.13 with the tensors ``EXPECTED``, ``epoch`` and other values."""

BASE = np.arange(6, dtype=np.float32).reshape(2, 3)
EXPECTED = {
    "whole": BASE,
    "row": BASE[1],
    "transposed": BASE.T,
    "empty": np.zeros((0, 2), np.float32),
    "count": np.array(7),
    "half": np.array([0.5, -2], np.float32),
    "bfloat": np.array([0.5, -2], np.float32),
    "double": np.array([np.inf, 0.1], np.float32),  # 1e300
    "flags": np.array([True, False]),
    "bytes": np.array([1, 255], np.uint8),
    "parameter": np.ones(2, np.float32),
}


def assert_same(ours, theirs):
    """Checks that names, their order and the bits of all arrays are equal."""
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape), name
        assert ours[name].tobytes() == array.tobytes(), name


def numpy_pickle(tree):
    """A pickle as NumPy 1 writes it under Python 3.4 to 3.7."""
    return pickle.dumps(tree, protocol=3).replace(b"cnumpy._core.", b"cnumpy.core.")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_floating_point_tensors_become_float32(tmp_path, dtype):
    safetensors.numpy.save_file({"w": np.array([0.5, -2.0], dtype), "n": np.array([3])}, tmp_path / "w.safetensors")
    expected = {"w": np.array([0.5, -2.0], np.float32), "n": np.array([3])}
    assert_same(dict(sorted(read_state_dict(tmp_path / "w.safetensors").items(), reverse=True)), expected)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module.layer1.a", "cls.a"], ["cls.a", "layer1.a"]),  # a wrapped backbone
        (["module.a", "a"], ["a", "module.a"]),  # two tensors
        (["model.a", "model.b"], ["a", "b"]),
        (["module.model.a", "model.module.b"], ["a", "b"]),
        (["backbone.a", "backbone.b"], ["a", "b"]),
        (["backbone.a", "b"], ["b", "backbone.a"]),  # a part of the network
    ],
)
def test_prefixes_of_wrappers_are_removed(tmp_path, names, expected):
    safetensors.numpy.save_file({name: np.zeros(1) for name in names}, tmp_path / "w.safetensors")
    assert sorted(read_state_dict(tmp_path / "w.safetensors")) == expected


@pytest.mark.parametrize("name", ["zip", "stream"])
def test_a_pytorch_file_is_read_without_pytorch(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    read = read_checkpoint(STORED / f"{name}.pth")
    assert read.epoch == 3
    assert_same(read.tensors, EXPECTED)


def test_a_repacked_pytorch_file_is_read(tmp_path):
    with zipfile.ZipFile(STORED / "zip.pth") as before, zipfile.ZipFile(tmp_path / "w.zip", "w") as after:
        for name in before.namelist():
            after.writestr(f"run/{name}", before.read(name), zipfile.ZIP_DEFLATED)
    assert_same(read_state_dict(tmp_path / "w.zip"), EXPECTED)


@pytest.mark.parametrize("name", ["zip", "stream"])
def test_big_endian_files_are_refused(tmp_path, name):
    content = (STORED / f"{name}.pth").read_bytes()
    if name == "stream":
        content = re.sub(rb"(little_endianq.)\x88", lambda found: found[1] + b"\x89", content)  # True to False
        (tmp_path / "w.pth").write_bytes(content)
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(tmp_path / "w.pth", "w") as after:
            for entry in before.namelist():
                after.writestr(entry, b"big" if entry.endswith("/byteorder") else before.read(entry))
    with pytest.raises(UserError, match=r"w\.pth is truncated or not a weight file \(its bytes are big-endian\)\.$"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int64, np.uint8, np.bool_])
def test_a_pickle_of_numpy_arrays_is_read(tmp_path, dtype, order):
    kernel = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)
    tree = {"Conv_0": {"kernel": kernel, "bias": np.array(3, dtype)}, "Conv_1": {"kernel": kernel[:0].copy()}}
    (tmp_path / "w.ckpt").write_bytes(numpy_pickle({"Net_0": tree}))
    as_read = lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x  # noqa: E731
    assert_same(
        read_state_dict(tmp_path / "w.ckpt"),
        {f"Net_0.{layer}.{part}": as_read(x) for layer, parts in tree.items() for part, x in parts.items()},
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": 1.0}, "is truncated or not a weight file (it is not a tree of arrays)"),
        ({}, "holds no tensors"),
        ({"a": np.ones(2, ">f4")}, "is truncated or not a weight file (its bytes are big-endian)"),
        ([1, 2], "is truncated or not a weight file (it is not a tree of arrays)"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, sentence):
    (tmp_path / "w.ckpt").write_bytes(numpy_pickle(content))
    with pytest.raises(UserError) as error:
        read_state_dict(tmp_path / "w.ckpt")
    assert str(error.value) == f"weight file {tmp_path / 'w.ckpt'} {sentence}."


@pytest.mark.parametrize("name", ["w.pth", "w.whl", "w.tar.gz", "w.safetensors"])
@pytest.mark.parametrize("content", [(STORED / "zip.pth").read_bytes()[:1800], b"not a weight file", b""])
def test_a_damaged_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is truncated or not a (weight|safetensors) file \(.*\)\.$") as error:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["zip", "stream"])
def test_a_truncated_file_is_refused(tmp_path, name):
    content = (STORED / f"{name}.pth").read_bytes()
    for end in range(0, len(content), 37):
        (tmp_path / "w.pth").write_bytes(content[:end])
        with pytest.raises(UserError, match=r"w\.pth is truncated"):
            read_state_dict(tmp_path / "w.pth")


def test_a_missing_file_a_folder_and_an_unknown_suffix_are_refused(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"")
    for name, sentence in (
        ("absent.pth", r"absent\.pth does not exist"),
        ("", "is a folder"),
        ("w.h5", r"w\.h5 is of an unknown kind; the kinds known are \.safetensors, \.pth"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_state_dict(tmp_path / name)


def pack(path, files):
    """Writes an archive of ``files`` (path to content) in the format of its suffix."""
    if path.suffix in (".zip", ".whl", ".pth"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("stored", ["zip", "stream"])
@pytest.mark.parametrize("archive", ["w-1.0-py3-none-any.whl", "w-1.0.tar.gz", "w.zip", "w.tar", "w.pth", "w.pth.tar"])
def test_the_only_weight_file_in_an_archive_is_read(tmp_path, archive, stored):
    files = {"run/best.pth": (STORED / f"{stored}.pth").read_bytes(), "run/notes.txt": b"best at epoch 3"}
    path = pack(tmp_path / archive, files | {"__MACOSX/run/._best.pth": b"what macOS adds"})
    assert list(read_checkpoints(path)) == ["run/best.pth"]
    assert_same(read_state_dict(path), EXPECTED)


def test_an_archive_with_several_weight_files_is_refused(tmp_path):
    files = {f"run/{i}.ckpt": numpy_pickle({"a": np.array([i])}) for i in range(2)}
    path = pack(tmp_path / "w.tar.gz", files)
    assert [state.tensors["a"].tolist() for state in read_checkpoints(path).values()] == [[0], [1]]
    with pytest.raises(UserError) as error:
        read_state_dict(path)
    several = "holds several weight files; unpack it and give one of them: run/0.ckpt, run/1.ckpt"
    assert str(error.value) == f"{path} {several}."


@pytest.mark.parametrize("inside", ["notes.txt", "w.safetensors"])
def test_an_archive_without_a_weight_file_is_refused(tmp_path, inside):
    with pytest.raises(
        UserError, match=r"^archive .*w\.zip holds no PyTorch file or pickle \(and a \.safetensors file ha"
    ):
        read_state_dict(pack(tmp_path / "w.zip", {inside: b"text"}))


def test_an_archive_suffix_does_not_decide_the_format(tmp_path):
    (tmp_path / "w.tar.gz").write_bytes((STORED / "zip.pth").read_bytes())
    assert list(read_checkpoints(tmp_path / "w.tar.gz")) == ["w.tar.gz"]
