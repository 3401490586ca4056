import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import create_backbone, random_variables, variable_shapes
from mmnet_jax.models.backbones.efficientnet_lite import EfficientNetLite2, plan_blocks
from mmnet_jax.models.backbones.frozen import FrozenConv, fold_normalisation
from mmnet_jax.models.backbones.resnet import plan_stages
from tests.tiny import EVERY_BACKBONE


def test_an_unknown_backbone_is_refused():
    with pytest.raises(UserError, match=r"unknown backbone resnet18; there are resnet50, "):
        create_backbone("resnet18")


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_variables_are_in_frozen_collections(name):
    found = {(path.split("/")[0], path.split("/")[-1]) for path in variable_shapes(name)}
    normalised = {("backbone", "scale"), ("batch_stats", "mean"), ("batch_stats", "var")}
    offset = {("backbone", "offset")} if name == "vgg16" else set()
    expected = {("backbone", "kernel"), ("backbone", "bias")} | offset
    assert found == (expected if name == "vgg16_plain" else expected | normalised)


def count(name):
    return sum(np.prod(shape) for path, shape in variable_shapes(name).items() if path.startswith("backbone/"))


def test_parameter_counts_equal_torchvisions():
    classifier = 2048 * 1000 + 1000
    assert count("resnet50") == 25_557_032 - classifier
    assert count("resnet101") == 44_549_160 - classifier
    classifier = (512 * 49 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert count("vgg16_plain") == 138_357_544 - classifier
    assert count("vgg16") == 138_365_992 - classifier
    stem = 3 * 7 * 7 * 64 + 2 * 64
    deep_stem = (3 * 64 + 64 * 64 + 64 * 128) * 9 + 2 * (64 + 64 + 128)
    wider_first_block = 64 * (64 + 256)  # first convolution and projection: 128 input channels, not 64
    for depth in (50, 101):
        assert count(f"resnet{depth}_v2") - count(f"resnet{depth}") == deep_stem - stem + wider_first_block


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_output_stride_changes_the_grids_and_no_variable(name):
    for output_stride, size in ((16, 33), (32, 64), (32, 65)):
        backbone, images = create_backbone(name).clone(output_stride=output_stride), jnp.zeros((1, size, size, 3))
        levels, variables = jax.eval_shape(lambda: backbone.init_with_output(jax.random.key(0), images))  # noqa: B023
        found = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(variables, sep="/").items()}
        assert found == variable_shapes(name)
        assert levels["level4"].shape[3] == backbone.channels["level4"]
        if output_stride == 32:
            strides = (8, 8, 8) if name == "tiny" else (8, 16, 32)  # tiny has one grid at any stride
            assert [level.shape[1] for level in levels.values()] == [-(-size // stride) for stride in strides]
            assert levels["level4"].shape[1] == backbone.grid(size) or name == "tiny"


@pytest.mark.parametrize("name", EVERY_BACKBONE)
def test_levels_share_the_grid(name):
    backbone = create_backbone(name)
    variables = jax.eval_shape(backbone.init, jax.random.key(0), jnp.zeros((1, 33, 33, 3)))
    vgg = name.startswith("vgg")
    for size, side in ((9, 1), (17, 2), (64, 4), (97, 7)) if vgg else ((64, 8), (97, 13)):  # a VGG's pools round up
        levels = jax.eval_shape(backbone.apply, variables, jnp.zeros((1, size, size, 3)))
        expected = {level: (1, side, side, channels) for level, channels in backbone.channels.items()}
        assert {level: features.shape for level, features in levels.items()} == expected
        assert backbone.grid(size) == side
    assert [backbone.grid(size) for size in (321, 473, 641)] == ([21, 30, 41] if vgg else [41, 60, 81])


def test_efficientnet_strides_and_dilations():
    strides, dilations = (
        {stride: [getattr(block, field) for block in plan_blocks(stride)] for stride in (8, 16, 32)}
        for field in ("stride", "dilation")
    )
    assert strides[8] == [1, 2, 1, 1, 2] + 16 * [1]
    assert dilations[8] == 8 * [1] + 8 * [2] + 5 * [4]
    assert strides[16] == [1, 2, 1, 1, 2, 1, 1, 2] + 13 * [1]
    assert dilations[16] == 16 * [1] + 5 * [2]
    assert [i for i, stride in enumerate(strides[32]) if stride == 2] == [1, 4, 7, 15]
    assert dilations[32] == 21 * [1]
    assert EfficientNetLite2(output_stride=32).grid(260) == 9


def test_resnet_strides_and_dilations():
    plans = {stride: [tuple(stage) for stage in plan_stages(32, stride)] for stride in (8, 16, 32)}
    assert plans[8] == [(32, 1, 1), (64, 2, 1), (128, 1, 2), (256, 1, 4)]
    assert plans[16] == [(32, 1, 1), (64, 2, 1), (128, 2, 1), (256, 1, 2)]
    assert plans[32] == [(32, 1, 1), (64, 2, 1), (128, 2, 1), (256, 2, 1)]


@pytest.mark.parametrize(
    ("options", "folded", "own", "mean"),
    [
        ({}, [0, 5], [0, 3], 6),  # relu of (3 - 5) / 2 * 2 + 1 and (9 - 5) / 2 * 2 + 1
        ({"activation": None}, [-1, 5], [-1, 3], 6),
        ({"activation": None, "biased": True}, [2, 8], [-1, 3], 9),  # the bias of 3 is part of its mean
    ],
)
def test_normalisation_by_running_and_batch_statistics_worked_by_hand(options, folded, own, mean):
    conv = FrozenConv(1, epsilon=0.0, momentum=0.1, **options)
    tensors = {"scale": [2.0], "bias": [1.0]} | ({"offset": [3.0]} if "biased" in options else {})
    variables = {
        "backbone": {"kernel": jnp.full((1, 1, 1, 1), 3.0), **{k: jnp.array(v) for k, v in tensors.items()}},
        "batch_stats": {"mean": jnp.array([5.0]), "var": jnp.array([4.0])},
    }
    x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)  # products 3 and 9: biased variance 9, unbiased 18
    np.testing.assert_allclose(conv.apply(variables, x).ravel(), folded)
    y, moved = conv.apply(variables, x, batch_statistics=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.ravel(), own, atol=1e-6)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], [0.9 * 5 + 0.1 * mean])
    np.testing.assert_allclose(moved["batch_stats"]["var"], [0.9 * 4 + 0.1 * 18], rtol=1e-6)


def test_random_variables_depend_on_the_seed_and_keep_the_scale_of_the_signal():
    first, again, other = (random_variables("resnet14_half", seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    kernel = first["backbone"]["stage4_0"]["conv1"]["kernel"]
    assert not np.allclose(kernel, other["backbone"]["stage4_0"]["conv1"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / 512), rel=0.01)
    np.testing.assert_array_equal(first["backbone"]["stem_0"]["scale"], np.ones(32))
    images = np.random.default_rng(0).standard_normal((1, 33, 33, 3)).astype(np.float32)
    for level in jax.jit(create_backbone("resnet14_half").apply)(first, images).values():
        assert 0.1 < np.std(level) < 100


def moved_statistics(variables):
    """Statistics and scales that differ between channels, as in a trained network."""
    random = np.random.default_rng(0)

    def move(path, leaf):
        return leaf if path[-1].key == "kernel" else (leaf + random.uniform(0.1, 0.5, leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(move, variables)


@pytest.mark.parametrize("name", ["resnet14_half", "vgg16", "vgg16_plain", "efficientnet_lite2"])
def test_folded_normalisation_gives_the_same_levels(name):
    backbone, variables = create_backbone(name), moved_statistics(random_variables(name))
    images = jax.random.normal(jax.random.key(0), (1, 33, 33, 3))
    expected = jax.jit(backbone.apply)(jax.tree.map(jnp.asarray, variables), images)
    for outputs_first in (False, True) if name == "efficientnet_lite2" else (False,):
        folded = fold_normalisation(variables, backbone.EPSILON, jnp.float32, outputs_first)
        assert not folded["batch_stats"] and "scale" not in str(jax.tree.structure(folded))
        ours = jax.jit(backbone.apply)(jax.tree.map(jnp.asarray, folded), images)
        for level, x in expected.items():
            np.testing.assert_allclose(ours[level], x, atol=2e-5 * float(jnp.abs(x).max()), rtol=0)


def test_folding_worked_by_hand():
    variables = {
        "backbone": {"kernel": jnp.full((1, 1, 1, 1), 3.0), "scale": jnp.array([2.0]), "bias": jnp.array([1.0])},
        "batch_stats": {"mean": jnp.array([5.0]), "var": jnp.array([4.0])},
    }
    folded = jax.tree.map(jnp.asarray, fold_normalisation(variables, 0.0, jnp.bfloat16)["backbone"])
    assert {name: (leaf.item(), leaf.dtype) for name, leaf in folded.items()} == {
        "kernel": (3.0, jnp.bfloat16),  # 3 * 2 / sqrt(4)
        "bias": (-4.0, jnp.bfloat16),  # 1 - 5 * 2 / sqrt(4)
    }
    x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    np.testing.assert_array_equal(FrozenConv(1).apply({"backbone": folded}, x).ravel(), [0, 5])


@pytest.mark.parametrize("layout", [{"stride": 2}, {"dilation": 2}, {"stride": 2, "padding": "same"}])
def test_initialising_returns_zeros_of_the_right_shape(layout):
    layer, x = FrozenConv(4, kernel_size=3, **layout), jnp.ones((1, 7, 8, 3))
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.shape == layer.apply(variables, x).shape and not y.any()
