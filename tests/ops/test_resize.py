import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops.resize import adaptive_average_pool, resize_bilinear, resize_on_host, resize_to_sides
from tests.evaluation.reference import resize_align_corners


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [
        ([[0, 3], [6, 9]], (3, 3), [[0, 1.5, 3], [3, 4.5, 6], [6, 7.5, 9]]),  # corners coincide
        (np.arange(12).reshape(3, 4), (1, 1), [[0]]),  # a side of one takes the first pixel
        (np.arange(12).reshape(3, 4), (1, 4), [[0, 1, 2, 3]]),
        (np.arange(12).reshape(3, 4), (3, 1), [[0], [4], [8]]),
        ([[7]], (3, 5), np.full((3, 5), 7)),
        ([[0, 0, 1, 1]], (1, 3), [[0, 0.5, 1]]),  # a mask off the grid becomes soft: sources 0, 1.5, 3
    ],
)
def test_resizing_worked_by_hand(image, size, expected):
    resized = resize_bilinear(jnp.array(image, float)[None, :, :, None], size)
    np.testing.assert_allclose(resized[0, :, :, 0], expected, rtol=1e-6, atol=1e-6)


def test_at_8k_plus_1_the_grid_is_every_eighth_pixel_exactly():
    x = jax.random.normal(jax.random.key(0), (1, 473, 473, 1))
    np.testing.assert_array_equal(resize_bilinear(x, 60), x[:, ::8, ::8])


SIZES = [((13, 7), (5, 29)), ((41, 41), (321, 321)), ((60, 60), (8, 8)), ((1, 6), (4, 3)), ((33, 33), (50, 50))]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_equals_pytorch(source, target):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, *source, 3)).astype(np.float32)
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(nchw, size=target, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(resize_bilinear(jnp.asarray(x), target), theirs.permute(0, 2, 3, 1), atol=2e-5)


def test_the_gradient_is_the_transposed_map():
    x = jax.random.normal(jax.random.key(0), (1, 5, 6, 2))
    g = jax.random.normal(jax.random.key(1), (1, 9, 4, 2))
    resized, pull = jax.vjp(lambda x: resize_bilinear(x, (9, 4)), x)
    np.testing.assert_allclose(jnp.sum(resized * g), jnp.sum(x * pull(g)[0]), rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "side", "expected"),
    [
        ([[0, 4], [8, 12]], 5, np.add.outer(2 * np.arange(5), np.arange(5))),
        (np.arange(25).reshape(5, 5), 3, np.arange(25).reshape(5, 5)[::2, ::2]),
        (np.arange(9).reshape(3, 3), 1, [[0]]),  # as align_corners does
        (np.sqrt(np.arange(49)).reshape(7, 7), 7, np.sqrt(np.arange(49, dtype=np.float32)).reshape(7, 7)),
        (np.full((9, 9), 0.7), 23, np.full((23, 23), np.float32(0.7))),  # a constant map stays exactly constant
    ],
)
def test_to_sides_worked_by_hand(image, side, expected):
    resized = resize_to_sides(jnp.array(image, jnp.float32)[None], jnp.array([side]), canvas=24)
    np.testing.assert_array_equal(resized[0, :side, :side], expected)


def test_each_map_has_its_own_size_in_one_compilation():
    maps = np.random.default_rng(0).normal(size=(4, 17, 17)).astype(np.float32)
    compiled = jax.jit(resize_to_sides, static_argnums=2)
    for sides in ([17, 30, 2, 1], [5, 64, 33, 16]):
        out = compiled(maps, jnp.array(sides), 64)
        for image, resized, side in zip(maps, out, sides, strict=True):
            np.testing.assert_allclose(resized[:side, :side], resize_align_corners(image, side), atol=2e-6)
    assert compiled._cache_size() == 1


@pytest.mark.parametrize("side", [1, 2, 7, 40])
def test_resizing_on_the_host_equals_the_reference(side):
    values = np.random.default_rng(1).normal(size=(9, 9))
    np.testing.assert_allclose(resize_on_host(values, (side, side)), resize_align_corners(values, side), atol=1e-6)
    np.testing.assert_allclose(resize_on_host(values, (side, 9)), resize_on_host(values.T, (9, side)).T, atol=1e-6)


def test_adaptive_pooling_windows_overlap_where_sides_do_not_divide():
    x = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])[None, :, None, None]  # windows 0..3 and 2..5
    np.testing.assert_allclose(adaptive_average_pool(x, (2, 1))[0, :, 0, 0], [2.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize("size", [60, 30, 15, 8, 1, 70])
def test_adaptive_pooling_equals_pytorch(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((1, 60, 60, 2)).astype(np.float32)
    theirs = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x).permute(0, 3, 1, 2), size)
    np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), size), theirs.permute(0, 2, 3, 1), atol=1e-5)


def test_in_bfloat16_interpolation_is_float32_and_rounded_once():
    x = jnp.array([1.0, 2.0], jnp.bfloat16).reshape(1, 1, 2, 1)
    resized = resize_bilinear(x, (1, 4))
    assert resized.dtype == jnp.bfloat16
    np.testing.assert_array_equal(resized.ravel(), jnp.array([1, 4 / 3, 5 / 3, 2], jnp.float32).astype(jnp.bfloat16))
