from __future__ import annotations

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

LAYOUTS = [("resnet50", stem) for stem in PLAIN.values()] + [("resnet50_v2", stem) for stem in DEEP.values()]
NAME = "efficientnet_lite2"


@pytest.fixture(scope="module")
def variables():
    return random_variables(NAME)


@pytest.fixture(scope="module")
def ported(tmp_path_factory, variables):
    path = tmp_path_factory.mktemp("weights") / "ported.safetensors"
    save_backbone(path, NAME, variables)
    return path


@pytest.mark.parametrize(("name", "stem"), LAYOUTS)
def test_every_resnet_layout_finds_its_place(name, stem):
    tensors = resnet50_tensors(stem)
    flat = flax.traverse_util.flatten_dict(port_backbone(name, tensors), sep="/")
    for i, (convolution, normalisation) in enumerate(stem):
        assert flat[f"backbone/stem_{i}/kernel"][0, 0, 0, 0] == tensors[f"{convolution}.weight"][0, 0, 0, 0]
        assert flat[f"batch_stats/stem_{i}/var"][0] == tensors[f"{normalisation}.running_var"][0]
    assert flat["backbone/stage3_5/conv2/kernel"].max() == tensors["layer3.5.conv2.weight"].min()
    assert flat["backbone/stage3_5/conv2/scale"].max() == tensors["layer3.5.bn2.weight"].min()
    assert flat["backbone/stage2_0/projection/bias"].max() == tensors["layer2.0.downsample.1.bias"].min()
    assert flat["batch_stats/stage1_2/conv3/mean"].max() == tensors["layer1.2.bn3.running_mean"].min()
    used = [name for name in tensors if not name.startswith("fc.") and "num_batches" not in name]
    assert len({tensor.flat[0] for tensor in flat.values()}) == len(used) == len(flat)


def test_a_resnet_101_is_told_by_its_third_stage():
    for name, stem in (("resnet101", PLAIN["torchvision"]), ("resnet101_v2", DEEP["timm"])):
        tensors = resnet50_tensors(stem, depths=(3, 4, 23, 3))
        flat = flax.traverse_util.flatten_dict(port_backbone(name, tensors), sep="/")
        assert flat["backbone/stage3_22/conv2/kernel"].max() == tensors["layer3.22.conv2.weight"].min()
        assert len(flat) == (100 + len(stem) + 3) * 5  # convolutions, those of 3 more projections with them


@pytest.mark.parametrize("layout", ["torchvision", "timm", "PFENet"])
@pytest.mark.parametrize(("name", "batch_norm"), [("vgg16", True), ("vgg16_plain", False)])
def test_every_vgg_layout_finds_its_place(name, batch_norm, layout):
    tensors = vgg16_tensors(layout, batch_norm)
    variables = port_backbone(name, tensors)
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    fourth = ("layer3.3", "layer3.4") if layout == "PFENet" else ("features.27", "features.28")  # its second layer's
    if not batch_norm:
        fourth = ("layer3.2",) if layout == "PFENet" else ("features.19",)
    expected = {"backbone/block4_1/kernel": f"{fourth[0]}.weight"}
    if batch_norm:
        expected["backbone/block4_1/offset"] = f"{fourth[0]}.bias"
        expected["backbone/block4_1/scale"] = f"{fourth[1]}.weight"
        expected["backbone/block4_1/bias"] = f"{fourth[1]}.bias"
        expected["batch_stats/block4_1/mean"] = f"{fourth[1]}.running_mean"
        expected["batch_stats/block4_1/var"] = f"{fourth[1]}.running_var"
    else:
        expected["backbone/block4_1/bias"] = f"{fourth[0]}.bias"
        assert variables["batch_stats"] == {}
    for path, source in expected.items():
        assert flat[path].max() == tensors[source].min(), path
    used = [name for name in tensors if name.startswith(("features", "layer")) and "num_batches" not in name]
    assert len({tensor.flat[0] for tensor in flat.values()}) == len(used) == len(flat)


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


def test_a_file_of_another_backbone_is_called_by_its_name():
    plain = resnet50_tensors(PLAIN["torchvision"])
    with pytest.raises(UserError, match=r"^a\.pth holds resnet50, not resnet50_v2\.$"):
        port_backbone("resnet50_v2", plain, "a.pth")
    deeper = resnet50_tensors(PLAIN["torchvision"], depths=(3, 4, 23, 3))
    with pytest.raises(UserError, match=r"^a\.pth holds resnet101, not resnet50\.$"):
        port_backbone("resnet50", deeper, "a.pth")
    # torchvision's vgg16 is vgg16_plain here, its vgg16_bn is vgg16
    with pytest.raises(UserError, match=r"^a\.pth holds vgg16_plain, not vgg16\.$"):
        port_backbone("vgg16", vgg16_tensors("torchvision", batch_norm=False), "a.pth")


def test_a_depth_that_no_backbone_has_is_refused():
    with pytest.raises(UserError, match=r"does not hold resnet50: nothing uses layer3\.6\.conv1\.weight, "):
        port_backbone("resnet50", resnet50_tensors(PLAIN["torchvision"], depths=(3, 4, 7, 3)))


def test_a_file_of_ours_gives_back_what_was_saved(ported, variables):
    jax.tree.map(np.testing.assert_array_equal, load_backbone(ported, NAME), variables)
    _, metadata = read_safetensors(ported)
    assert metadata == {"version": "1", "backbone": NAME}


def test_the_same_variables_make_the_same_file(tmp_path, ported, variables):
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


def test_another_backbones_file_is_refused(ported):
    with pytest.raises(UserError, match=r"ported\.safetensors holds efficientnet_lite2, not resnet50\."):
        load_backbone(ported, "resnet50")
    with pytest.raises(UserError, match="unknown backbone resnet18"):
        load_backbone(ported, "resnet18")


def test_a_file_that_was_not_ported_is_sent_to_port_weights(tmp_path):
    safetensors.numpy.save_file({"conv1.weight": np.zeros((64, 3, 7, 7))}, tmp_path / "timm.safetensors")
    with pytest.raises(UserError, match=r"timm\.safetensors was not written by port_weights"):
        load_backbone(tmp_path / "timm.safetensors", "resnet50")


def test_a_truncated_file_is_named(tmp_path, ported):
    content = ported.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) - 1000])
    with pytest.raises(UserError, match=r"cut\.safetensors is truncated"):
        load_backbone(tmp_path / "cut.safetensors", NAME)


def test_a_file_of_ours_with_tensors_changed_is_refused(tmp_path, ported):
    tensors, metadata = read_safetensors(ported)
    tensors["backbone/stem/scale"] = np.ones(31, np.float32)
    del tensors["batch_stats/stem/mean"]
    write_safetensors(tmp_path / "changed.safetensors", tensors, metadata)
    with pytest.raises(UserError, match=r"nothing fills batch_stats/stem/mean; wrong shape: backbone/stem/scale is 31"):
        load_backbone(tmp_path / "changed.safetensors", NAME)
    write_safetensors(tmp_path / "newer.safetensors", tensors, metadata | {"version": "2"})
    with pytest.raises(UserError, match="is of format version 2, not 1"):
        load_backbone(tmp_path / "newer.safetensors", NAME)


def test_saving_refuses_variables_of_another_backbone(tmp_path, variables):
    with pytest.raises(UserError, match="these variables do not fit resnet50"):
        save_backbone(tmp_path / "w.safetensors", "resnet50", variables)
    assert not list(tmp_path.iterdir())


def test_porting_a_file_end_to_end(tmp_path):
    tensors = resnet50_tensors(PLAIN["torchvision"])
    source, output = tmp_path / "timm.safetensors", tmp_path / "ours.safetensors"
    safetensors.numpy.save_file({f"module.{name}": tensor for name, tensor in tensors.items()}, source)
    assert port_file("resnet50", source, output) == 53 * 5  # convolutions x (kernel, scale, bias, mean, var)
    loaded = load_backbone(output, "resnet50")
    assert loaded["backbone"]["stage4_2"]["conv1"]["kernel"].shape == (1, 1, 2048, 512)
    assert loaded["backbone"]["stage4_2"]["conv1"]["kernel"].max() == tensors["layer4.2.conv1.weight"].min()


def test_porting_checks_the_names_that_it_is_given(tmp_path):
    (tmp_path / "source.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="unknown backbone vgg19"):
        port_file("vgg19", tmp_path / "source.safetensors", tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.pth must be called something\.safetensors"):
        port_file("resnet50", tmp_path / "source.safetensors", tmp_path / "w.pth")
    with pytest.raises(UserError, match="is the source itself"):
        port_file("resnet50", tmp_path / "source.safetensors", tmp_path / "source.safetensors")
    with pytest.raises(UserError, match=r"absent\.pth does not exist"):
        port_file("resnet50", tmp_path / "absent.pth", tmp_path / "w.safetensors")
