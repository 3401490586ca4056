from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops.resize import adaptive_average_pool, resize_bilinear, resize_on_host, resize_to_sides
from tests.evaluation.reference import resize_align_corners


def test_corners_coincide_and_the_middle_is_their_mean():
    x = jnp.array([[0.0, 3.0], [6.0, 9.0]])[None, :, :, None]
    expected = np.array([[0, 1.5, 3], [3, 4.5, 6], [6, 7.5, 9]])
    np.testing.assert_allclose(resize_bilinear(x, 3)[0, :, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
def test_a_side_of_one_takes_the_first_pixel(size):
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    y = resize_bilinear(x, size)
    assert y.shape == (1, *size, 1)
    assert float(y[0, 0, 0, 0]) == 0.0


def test_a_one_pixel_map_is_spread_evenly():
    np.testing.assert_array_equal(resize_bilinear(jnp.full((1, 1, 1, 2), 7.0), (3, 5)), np.full((1, 3, 5, 2), 7.0))


def test_at_8k_plus_1_the_grid_is_every_eighth_pixel_exactly():
    x = jax.random.normal(jax.random.key(0), (1, 473, 473, 1))
    np.testing.assert_array_equal(resize_bilinear(x, 60), x[:, ::8, ::8])


def test_a_mask_off_the_grid_becomes_soft():
    mask = jnp.zeros((1, 4, 4, 1)).at[:, :, 2:].set(1.0)  # 4 -> 3: sources 0, 1.5, 3
    np.testing.assert_allclose(resize_bilinear(mask, 3)[0, 0, :, 0], [0, 0.5, 1], atol=1e-6)


@pytest.mark.parametrize("sizes", [((13, 7), (5, 29)), ((41, 41), (321, 321)), ((60, 60), (8, 8)), ((1, 6), (4, 3))])
def test_equals_pytorch(sizes):
    torch = pytest.importorskip("torch")
    source, target = sizes
    x = np.random.default_rng(0).standard_normal((2, *source, 3)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(x).permute(0, 3, 1, 2), size=target, mode="bilinear", align_corners=True
    )
    np.testing.assert_allclose(resize_bilinear(jnp.asarray(x), target), theirs.permute(0, 2, 3, 1), atol=2e-5)


def test_the_gradient_is_the_transposed_map():
    x = jax.random.normal(jax.random.key(0), (1, 5, 6, 2))
    g = jax.random.normal(jax.random.key(1), (1, 9, 4, 2))
    resized, pull = jax.vjp(lambda x: resize_bilinear(x, (9, 4)), x)
    np.testing.assert_allclose(jnp.sum(resized * g), jnp.sum(x * pull(g)[0]), rtol=1e-5)


def test_to_sides_interpolates_between_corners():
    maps = jnp.array([[[0.0, 4.0], [8.0, 12.0]]])
    out = resize_to_sides(maps, jnp.array([5]), canvas=6)
    expected = np.add.outer(8 * np.arange(5) / 4, 4 * np.arange(5) / 4)
    np.testing.assert_allclose(out[0, :5, :5], expected, atol=1e-6)


def test_to_sides_down_takes_every_second_pixel():
    image = jnp.arange(25.0).reshape(1, 5, 5)
    out = resize_to_sides(image, jnp.array([3]), canvas=4)
    np.testing.assert_array_equal(out[0, :3, :3], image[0, ::2, ::2])


def test_one_pixel_label_takes_the_first_pixel_as_align_corners_does():
    image = jnp.arange(9.0).reshape(1, 3, 3)
    assert resize_to_sides(image, jnp.array([1]), canvas=2)[0, 0, 0] == 0


def test_to_sides_to_own_size_changes_nothing():
    image = jax.random.normal(jax.random.key(0), (1, 7, 7))
    np.testing.assert_array_equal(resize_to_sides(image, jnp.array([7]), canvas=7), image)


def test_each_example_has_its_own_size_and_one_compilation_serves_all():
    maps = np.random.default_rng(0).normal(size=(4, 17, 17)).astype(np.float32)
    compiled = jax.jit(resize_to_sides, static_argnums=2)
    for sides in ([17, 30, 2, 1], [5, 64, 33, 16]):
        out = compiled(maps, jnp.array(sides), 64)
        for image, resized, side in zip(maps, out, sides, strict=True):
            np.testing.assert_allclose(resized[:side, :side], resize_align_corners(image, side), atol=2e-6)
    assert compiled._cache_size() == 1


def test_constant_map_stays_exactly_constant():
    out = resize_to_sides(jnp.full((1, 9, 9), 0.7), jnp.array([23]), canvas=24)
    assert np.unique(out).size == 1


def test_to_sides_matches_pytorch():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(2).normal(size=(1, 1, 33, 33)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.tensor(image), (50, 50), mode="bilinear", align_corners=True)
    ours = resize_to_sides(jnp.asarray(image[0]), jnp.array([50]), canvas=50)
    np.testing.assert_allclose(ours[0], theirs[0, 0], atol=1e-5)


@pytest.mark.parametrize("side", [1, 2, 7, 40])
def test_on_the_host_corners_lie_on_corners(side):
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
