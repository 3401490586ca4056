"""Checkpoints with the authors' names and shapes, ported to workdirs by the command."""

import json
import re

import jax
import numpy as np
import pytest
import safetensors.numpy

from mmnet_jax import load_model, weights
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.errors import UserError
from mmnet_jax.models.registry import frozen_variables
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.porting import port_released
from tests.conftest import REFERENCE
from tests.models.test_goldens import SIZE, golden_config, state_dict
from tests.weights.test_port_weights import port_weights

NETWORKS = {"released": "mmnet", "pfenet": "pfenet"}
QUERY, SUPPORT, WIDE = "down_query_level_2.0.weight", "down_supp_level_2.0.weight", (256, 1536, 3, 3)
SHAPES = json.loads((REFERENCE / "shapes.json").read_text())
RELEASED = SHAPES["released"]


def shaped(names="released", **changes):
    """The authors' tensors as zeros that take no memory; a change to None removes one."""
    tensors = {name: x for name, x in (SHAPES[names] | changes).items() if x is not None}
    hollow = lambda x: x if isinstance(x, np.ndarray) else np.broadcast_to(np.float32(0), x)  # noqa: E731
    return {name: hollow(x) for name, x in tensors.items()}


@pytest.fixture(scope="module", params=list(NETWORKS))
def ported(request, tmp_path_factory):
    """The key of shapes.json, the workdir ported from such a file, and the command's output."""
    folder = tmp_path_factory.mktemp(request.param)
    source = folder / "authors.safetensors"
    tensors = {f"module.{name}": tensor for name, tensor in state_dict(request.param).items()}
    counters = {f"module.layer{i}.0.bn1.num_batches_tracked": np.array(7) for i in range(1, 5)}
    safetensors.numpy.save_file(tensors | counters, source)
    data = ["--dataset=coco20i", "--coco_masks=published", "--folds=contiguous"]
    options = ["--fold=2", "--shots=2", f"--image_size={SIZE}", *data]
    done = port_weights("released", f"--source={source}", f"--workdir={folder / 'run'}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["authors.safetensors", "run"]
    return request.param, folder / "run", done.stdout


@pytest.fixture(scope="module")
def loaded(ported):
    return load_model(ported[1])


def test_the_config_is_inferred_from_tensors_and_flags(ported, loaded):
    (names, workdir, said), (_, _, config) = ported, loaded
    assert (config.model.network, config.model.backbone) == (NETWORKS[names], "resnet50_v2")
    assert (config.fold, config.shots, config.data.image_size) == (2, 2, SIZE)
    assert dataset_choice(config) == ("coco20i", "data", "published", "contiguous")
    assert config.model.bins == (1.0, 0.5, 0.25, 0.125)
    assert (config.model.projection_kernel, config.model.projection_shared) == (1, False)
    assert config.model.support_level4 == "masked_twice"
    if names == "released":
        assert config.reading == "released"
        assert said.startswith("MM-Net of reading released, 50 embeddings, resnet50_v2: 311 tensors written to ")
    else:
        assert said.startswith("PFENet, resnet50_v2: 310 tensors written to ")
    assumed = (
        "--dataset=coco20i --coco_masks=published --folds=contiguous --fold=2 --shots=2 --image_size=97 --bins=1.0"
    )
    assert f"{assumed},0.5,0.25,0.125\n" in said
    with pytest.raises(UserError, match="holds a ported checkpoint, which has no optimiser state and cannot"):
        Workdir(workdir).resumes(config)


def test_all_tensors_are_ported_unchanged(ported, loaded):
    (names, workdir, _), (model, variables, config) = ported, loaded
    expected = weights.from_released(state_dict(names), config)
    own = {collection: expected[collection]["backbone"] for collection in ("backbone", "batch_stats")}
    stored = weights.load_backbone(Workdir(workdir).backbone_file, config.model.backbone)
    jax.tree.map(np.testing.assert_array_equal, stored, own)
    jax.tree.map(np.testing.assert_array_equal, variables, expected | frozen_variables(model, own))
    var = stored["batch_stats"]["stage3_2"]["conv1"]["var"]
    np.testing.assert_array_equal(var, state_dict(names)["layer3.2.bn1.running_var"])


def test_a_workdir_that_is_not_empty_is_refused(ported):
    _, workdir, _ = ported
    before = sorted(workdir.rglob("*"))
    with pytest.raises(UserError, match=r"run is not empty; choose a new one\.$"):
        port_released("any.pth", workdir, {})
    assert sorted(workdir.rglob("*")) == before


@pytest.mark.parametrize(("names", "title"), [("released", "MM-Net"), ("pfenet", "PFENet")])
def test_a_whole_network_given_as_a_backbone_is_refused_with_the_right_command(names, title):
    with pytest.raises(UserError) as error:
        weights.port_backbone("resnet50_v2", shaped(names), "my files/best.pth")
    assert str(error.value) == (
        f"my files/best.pth holds the whole of {title}, not a backbone alone; port it by: "
        "python scripts/port_weights.py released --source='my files/best.pth' --workdir=DIR"
    )


@pytest.mark.parametrize(
    ("names", "changes", "backbone"),
    [
        ("released", {}, "resnet50_v2"),
        ("pfenet", {}, "resnet50_v2"),
        ("released", dict.fromkeys(["layer0.3.weight", "layer0.4.weight", "layer0.6.weight"]), "resnet50_v2"),
        ("released", dict.fromkeys(name for name in RELEASED if re.match(r"layer0\.[3-9]", name)), "resnet50"),
        ("released", {"layer3.6.conv1.weight": (256, 1024, 1, 1)}, "resnet101_v2"),
    ],
)
def test_resnets_are_inferred_from_stem_and_depth(names, changes, backbone):
    inferred = weights.infer_config(shaped(names, **changes))
    assert (inferred["model.network"], inferred["model.backbone"]) == (NETWORKS[names], backbone)


@pytest.mark.parametrize(
    ("statistics", "backbone"), [(["layer1.1.running_mean"], "vgg16"), ([], "vgg16_plain")], ids=["BN", "plain"]
)
def test_vggs_are_inferred_from_their_names(statistics, backbone):
    head = {name: shape for name, shape in SHAPES["pfenet"].items() if not name.startswith("layer")}
    tensors = dict.fromkeys([*head, "layer0.0.weight", "layer1.0.weight", *statistics], np.zeros(1))
    assert weights.infer_config(tensors)["model.backbone"] == backbone


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("released", 50, 1, False)),
        ({"part_emb_2_level": (1, 256, 20)}, ("released", 20, 1, False)),
        ({SUPPORT: None}, ("released", 50, 1, False)),  # a tensor that is missing
        ({QUERY: WIDE, SUPPORT: None}, ("paper", 50, 3, True)),
        ({QUERY: WIDE, SUPPORT: WIDE}, ("paper", 50, 3, True)),  # both names of the one projection
        ({QUERY: WIDE, SUPPORT: np.ones(WIDE, np.float32)}, ("released", 50, 3, False)),  # two projections
    ],
)
def test_memory_size_and_reading_are_inferred(changes, expected):
    inferred = weights.infer_config(shaped(**changes))
    fields = ("reading", "model.memory_size", "model.projection_kernel", "model.projection_shared")
    assert tuple(inferred[field] for field in fields) == expected


def write(folder, tensors):
    path = folder / "authors.safetensors"
    safetensors.numpy.save_file({name: np.zeros(1, np.float32) for name in tensors}, path)
    return path


@pytest.mark.parametrize(
    ("tensors", "given", "sentence"),
    [
        (
            ["conv1.weight", "layer1.0.conv1.weight"],
            {},
            r"authors\.safetensors is not a checkpoint of MM-Net's or PFENet's authors: it has neither "
            r"down_query_level_2\.0\.weight nor down_query\.0\.weight; a backbone alone is ported by: .*=FILE",
        ),
        (
            ["layer0.0.weight", "down_query.0.weight", "init_merge.0.weight", "learner_base.1.0.weight"],
            {},
            r"authors\.safetensors is a checkpoint of BAM or a method built on it \(it has learner_base\.1\.0\.weight\)"
            r"; the whole networks that can be ported are MM-Net and PFENet, by their authors' code\.$",
        ),
        (
            ["module.backbone.conv1.weight", "module.hpn_learner.encoder_layer4.0.0.weight"],
            {},
            r"a checkpoint of HSNet or a method built on it \(it has hpn_learner\.encoder_layer4\.0\.0\.weight\); ",
        ),
        (["part_emb_2_level", "cls.0.weight"], {}, "holds no backbone: it has none of the tensors"),
        (SHAPES["pfenet"], {"model.network": "mmnet"}, r"holds model\.network = pfenet, not mmnet\.$"),
        (RELEASED, {"model.backbone": "vgg16"}, r"holds model\.backbone = resnet50_v2, not vgg16\.$"),
        (RELEASED, {"model.bins": (60, 30, 15)}, r"holds 4 bins, not 3 \(60, 30, 15\); give theirs as --b"),
        (RELEASED, {"data.dataset": "coco20i", "data.split": "folder"}, r"split = folder has no effect on coco20i\.$"),
        (RELEASED, {"data.folds": "interleaved"}, r"data\.folds of pascal5i must be contiguous, but is interleaved\.$"),
        (RELEASED, {"data.image_size": 480}, r"image_size must be 8k \+ 1, but is 480"),
    ],
)
def test_a_refused_file_leaves_no_workdir(tmp_path, tensors, given, sentence):
    with pytest.raises(UserError, match=sentence):
        port_released(write(tmp_path, tensors), tmp_path / "runs" / "new", given)
    assert [path.name for path in tmp_path.iterdir()] == ["authors.safetensors"]


def test_an_impossible_workdir_is_refused_before_reading_the_file(tmp_path):
    (tmp_path / "file").touch()
    for workdir in ("file", "file/runs/new"):
        with pytest.raises(UserError, match=rf"{workdir} cannot be made: .*/file is a file, not a folder\.$"):
            port_released(tmp_path / "absent.pth", tmp_path / workdir, {})


@pytest.mark.parametrize("names", list(NETWORKS))
def test_all_tensor_errors_are_reported_together(names):
    changes = {"res1.0.weight": None, "layer3.2.bn1.running_var": None, "cls.3.bias": (3,), "cls.4.bias": (3,)}
    config = golden_config(names, 1)
    with pytest.raises(UserError) as error:
        weights.from_released(shaped(names, **changes), config, "authors.pth")
    network = "MM-Net of reading released" if names == "released" else "PFENet"
    assert str(error.value) == (
        f"authors.pth does not hold {network} with resnet50_v2: unexpected: cls.4.bias; missing: "
        "params/fem/merge/kernel (res1.0.weight), batch_stats/backbone/stage3_2/conv1/var (layer3.2.bn1.running_var); "
        "wrong shape: cls.3.bias is 3, not 2."
    )


def test_an_interrupted_port_leaves_no_workdir(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmnet_jax.workdir.folder.Workdir._write", interrupt)  # writes the last file
    monkeypatch.setattr(weights, "from_released", lambda *_: {"params": {}, "backbone": {}, "batch_stats": {}})
    monkeypatch.setattr(weights, "save_backbone", lambda *_: None)
    source = write(tmp_path, RELEASED)
    with pytest.raises(KeyboardInterrupt):
        port_released(source, tmp_path / "new", {})
    assert [path.name for path in tmp_path.iterdir()] == ["authors.safetensors"]
