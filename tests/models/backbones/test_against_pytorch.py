"""Ported backbones equal PyTorch implementations, level by level."""

from functools import partial

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import weights
from mmnet_jax.models.backbones import ResNet, create_backbone, random_variables

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from tests.models.backbones import torch_backbones  # noqa: E402

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
DEEP = (3, 4, 23, 3)
BUILDS = {
    "resnet50": torch_backbones.ResNet,
    "resnet50_v2": partial(torch_backbones.ResNet, deep_stem=True),
    "resnet101": partial(torch_backbones.ResNet, depths=DEEP),
    "resnet101_v2": partial(torch_backbones.ResNet, depths=DEEP, deep_stem=True),
    "vgg16": torch_backbones.VGG16,
    "vgg16_plain": partial(torch_backbones.VGG16, batch_norm=False, sliced=True),
    "efficientnet_lite2": torch_backbones.EfficientNetLite2,
}


def assert_close(ours, theirs, tolerance=1e-4):
    for mine, their in zip(ours.values(), theirs, strict=True):
        their = their.numpy().transpose(0, 2, 3, 1)
        assert mine.shape == their.shape and np.abs(their).max() > 0.1
        np.testing.assert_allclose(mine, their, rtol=0, atol=tolerance * np.abs(their).max())


@torch.no_grad()
def run(build, images):
    return build(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)))


# at 8k + 1 px a VGG's first three pools round up, and the fourth at 65 px but not at 73
SIZES = dict.fromkeys(BUILDS, 65) | {"vgg16": 73, "resnet101": 33, "resnet101_v2": 33}
CASES = [pytest.param(*case, marks=pytest.mark.slow) if "101" in case[0] else case for case in SIZES.items()]


@pytest.mark.parametrize(("name", "size"), CASES)
def test_every_level_equals_pytorch(name, size):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    normalised = (pixels / 255 - MEAN) / STD
    build = torch_backbones.randomise(BUILDS[name]())
    backbone = create_backbone(name)
    variables = weights.port_backbone(name, torch_backbones.to_numpy(build))
    ours = jax.jit(backbone.apply)(variables, jnp.asarray(normalised, jnp.float32))
    grid = 2, backbone.grid(size), backbone.grid(size)
    assert {level: x.shape for level, x in ours.items()} == {
        level: (*grid, n) for level, n in backbone.channels.items()
    }
    assert_close(ours, run(build, (pixels - 127) / 128 if name == "efficientnet_lite2" else normalised))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("resnet14_half", partial(torch_backbones.ResNet, depths=(1, 1, 1, 1), base=32, classifies=True)),
        ("vgg16", partial(torch_backbones.VGG16, classifies=True)),
    ],
)
def test_output_stride_32_equals_pytorch(name, build):
    build = torch_backbones.randomise(build())
    images = np.random.default_rng(0).standard_normal((2, 65, 65, 3)).astype(np.float32)
    variables = weights.port_backbone(name, torch_backbones.to_numpy(build))
    ours = jax.jit(create_backbone(name).clone(output_stride=32).apply)(variables, images)
    assert [level.shape[1] for level in ours.values()] == [9, 5, 3]
    assert_close(ours, run(build, images))


def small_resnet():
    """A ResNet with one block per stage in both frameworks, and its variables."""
    build = torch_backbones.randomise(torch_backbones.ResNet(depths=(1, 1, 1, 1)))
    model = ResNet(depths=(1, 1, 1, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
    targets = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(shapes, sep="/").items()}
    state = torch_backbones.to_numpy(build)
    flat = weights.port(state, weights.backbone_rules("resnet50", state), targets, (r".*num_batches_tracked",))
    return build, model, flax.traverse_util.unflatten_dict(flat, sep="/")


def vgg16():
    """A VGG-16 with normalisation in both frameworks, and its variables."""
    build = torch_backbones.randomise(torch_backbones.VGG16())
    return build, create_backbone("vgg16"), weights.port_backbone("vgg16", torch_backbones.to_numpy(build))


SMALL_RESNETS = {"stem_0": "bn1", "stage3_0/conv2": "layer3.0.bn2", "stage4_0/projection": "layer4.0.downsample.1"}
VGG16S = {"block1_0": "features.1", "block3_2": "features.21", "block5_2": "features.41"}


@pytest.mark.parametrize(("network", "names"), [(small_resnet, SMALL_RESNETS), (vgg16, VGG16S)])
def test_batch_statistics_and_running_averages_equal_pytorch(network, names):
    build, model, variables = network()
    build.train()
    images = np.random.default_rng(1).standard_normal((2, 3, 33, 33, 3)).astype(np.float32)

    @jax.jit
    def call(variables, images):
        levels, moved = model.apply(variables, images, batch_statistics=True, mutable=["batch_stats"])
        return levels, variables | moved

    for call_images in images:  # the second call starts from moved statistics
        ours, variables = call(variables, call_images)
        assert_close(ours, run(build, call_images))
    state = torch_backbones.to_numpy(build)
    running = flax.traverse_util.flatten_dict(variables["batch_stats"], sep="/")
    for path, name in names.items():
        for part in ("mean", "var"):
            ours, theirs = running[f"{path}/{part}"], state[f"{name}.running_{part}"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_running_statistics_move_only_if_mutable_and_used():
    model, variables = create_backbone("tiny"), random_variables("tiny")
    images = jnp.asarray(np.random.default_rng(2).standard_normal((2, 33, 33, 3)), jnp.float32)
    apply = jax.jit(model.apply, static_argnames=("batch_statistics", "mutable"))
    alone = apply(variables, images, batch_statistics=True)
    _, moved = apply(variables, images, batch_statistics=True, mutable=("batch_stats", "backbone"))
    jax.tree.map(np.testing.assert_array_equal, moved["backbone"], variables["backbone"])
    frozen = apply(variables, images)
    assert not np.allclose(alone["level2"], frozen["level2"], atol=0.1)
    _, unmoved = apply(variables, images, mutable=("batch_stats",))
    jax.tree.map(np.testing.assert_array_equal, unmoved["batch_stats"], variables["batch_stats"])
