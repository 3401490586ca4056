import sys
import tarfile
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mmnet_jax.errors import UserError
from mmnet_jax.weights import read_checkpoint, read_state_dict, sha256
from mmnet_jax.weights.files import read_safetensors, write_safetensors

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(7)}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_floating_point_becomes_float32_and_counters_stay(tmp_path, dtype):
    safetensors.numpy.save_file({"w": np.array([0.5, -2.0], dtype), "n": np.array([3])}, tmp_path / "w.safetensors")
    tensors = read_state_dict(tmp_path / "w.safetensors")
    assert tensors["w"].dtype == np.float32
    np.testing.assert_array_equal(tensors["w"], [0.5, -2.0])
    assert tensors["n"].dtype == np.int64


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module.layer1.a", "cls.a"], ["cls.a", "layer1.a"]),  # a wrapper around the backbone alone
        (["module.a", "a"], ["a", "module.a"]),  # two tensors
        (["model.a", "model.b"], ["a", "b"]),
        (["module.model.a", "model.module.b"], ["a", "b"]),
        (["backbone.a", "backbone.b"], ["a", "b"]),
        (["backbone.a", "b"], ["b", "backbone.a"]),  # a part of the network
    ],
)
def test_prefixes_of_wrappers_are_taken_off(tmp_path, names, expected):
    safetensors.numpy.save_file({name: np.zeros(1) for name in names}, tmp_path / "w.safetensors")
    assert sorted(read_state_dict(tmp_path / "w.safetensors")) == expected


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "as before PyTorch 1.6"])
@pytest.mark.parametrize(
    ("beside", "epoch"),
    [(None, None), ({"epoch": 3}, 3), ({"epoch": 0}, 0), ({"epoch": "last"}, None), ({}, None)],
)
def test_a_pytorch_file_is_unwrapped(torch, tmp_path, beside, epoch, zipped):
    tensors = {f"module.{name}": torch.tensor(value) for name, value in TENSORS.items()}
    tensors["module.half"] = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    parameter = torch.nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    sgd.step()  # which makes a momentum buffer
    content = tensors if beside is None else {**beside, "state_dict": tensors, "optimizer": sgd.state_dict()}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / "w.pth")
    assert read.epoch == epoch
    assert set(read.tensors) == {"a.weight", "a.count", "half"}
    np.testing.assert_array_equal(read.tensors["a.weight"], TENSORS["a.weight"])
    assert read.tensors["half"].dtype == np.float32


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_tensors_under_a_usual_key_are_unwrapped(torch, tmp_path, wrapper):
    torch.save({"epoch": 3, wrapper: {"a": torch.nn.Parameter(torch.ones(2))}}, tmp_path / "w.pth.tar")
    tensors, epoch = read_checkpoint(tmp_path / "w.pth.tar")
    assert epoch == 3 and list(tensors) == ["a"]
    np.testing.assert_array_equal(tensors["a"], [1, 1])


@pytest.mark.parametrize("archive", ["w.zip", "w.tar", "w.tar.gz", "w.pth", "w.pth.tar"])
def test_an_archive_around_a_weight_file_is_to_be_unpacked(torch, tmp_path, archive):
    torch.save({"a": torch.ones(2)}, tmp_path / "best.pth")
    (tmp_path / "notes.txt").write_text("best at epoch 3")
    if archive in ("w.zip", "w.pth"):
        with zipfile.ZipFile(tmp_path / archive, "w") as file:
            for name in ("best.pth", "notes.txt"):
                file.write(tmp_path / name, f"run/{name}")
            file.writestr("__MACOSX/run/._best.pth", "what macOS adds")
    else:
        with tarfile.open(tmp_path / archive, "w:gz" if archive.endswith("gz") else "w") as file:
            for name in ("best.pth", "notes.txt"):
                file.add(tmp_path / name, f"run/{name}")
    with pytest.raises(UserError) as error:
        read_state_dict(tmp_path / archive)
    inside = "is an archive; unpack it and give the file inside: run/best.pth."
    assert str(error.value) == f"weight file {tmp_path / archive} {inside}"


def test_a_wheel_is_opened_for_the_one_pytorch_file_in_it(torch, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("package/__init__.py", "")
        wheel.write(tmp_path / "w.pth", "package/models/w.pth")
    np.testing.assert_array_equal(read_state_dict(tmp_path / "w-1.0-py3-none-any.whl")["a"], [1, 1])
    with zipfile.ZipFile(tmp_path / "empty.whl", "w") as wheel:
        wheel.writestr("package/__init__.py", "")
    with pytest.raises(UserError, match="holds 0 PyTorch files, not 1"):
        read_state_dict(tmp_path / "empty.whl")


def test_a_pytorch_file_that_holds_more_than_tensors_is_refused(torch, tmp_path):
    for content, sentence in (
        ({"a": torch.ones(2), "code": print}, r"holds more than tensors, .* \(print\); save its state_dict alone"),
        ([torch.ones(2)], "holds no table of named tensors"),
        ({}, "holds no tensors"),
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(UserError, match=rf"w\.pth {sentence}"):
            read_state_dict(tmp_path / "w.pth")


def test_without_pytorch_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    (tmp_path / "w.pth").write_bytes(b"anything")
    with pytest.raises(UserError, match=r"w\.pth needs PyTorch: pip install 'mmnet-jax\[torch\]'"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.whl"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_file_is_named(request, tmp_path, name, damage):
    if name == "w.safetensors":
        safetensors.numpy.save_file(TENSORS, tmp_path / name)
    else:
        torch = request.getfixturevalue("torch")
        torch.save({"a": torch.ones(500)}, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    damaged = {"truncated": content[: len(content) // 2], "text": b"not a weight file", "empty": b""}[damage]
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(UserError, match=rf"{name} is truncated") as error:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_an_unknown_kind_are_named(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as file:
        file.writestr("notes.txt", "no weights")
    for name, sentence in (
        ("absent.pth", r"absent\.pth does not exist"),
        ("", "is a folder"),
        ("w.zip", r"w\.zip is of an unknown kind"),
        ("w.h5", r"w\.h5 is of an unknown kind; the kinds known are \.safetensors, \.pth"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_state_dict(tmp_path / name)


def test_writing_keeps_tensors_and_metadata_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "w.safetensors"
    write_safetensors(path, {"a": TENSORS["a.weight"].T}, {"backbone": "x", "version": "1"})
    tensors, metadata = read_safetensors(path)
    np.testing.assert_array_equal(tensors["a"], TENSORS["a.weight"].T)
    assert metadata == {"backbone": "x", "version": "1"}
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]
    with pytest.raises(UserError, match=r"w\.safetensors/below\.safetensors cannot be written"):
        write_safetensors(path / "below.safetensors", {}, {})


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(UserError, match="does not exist"):
        sha256(tmp_path / "absent")
