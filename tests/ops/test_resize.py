from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops import adaptive_average_pool, resize_bilinear


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


def test_adaptive_pooling_windows_overlap_where_sides_do_not_divide():
    x = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])[None, :, None, None]  # windows 0..3 and 2..5
    np.testing.assert_allclose(adaptive_average_pool(x, (2, 1))[0, :, 0, 0], [2.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize("size", [60, 30, 15, 8, 1, 70])
def test_adaptive_pooling_equals_pytorch(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal((1, 60, 60, 2)).astype(np.float32)
    theirs = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x).permute(0, 3, 1, 2), size)
    np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), size), theirs.permute(0, 2, 3, 1), atol=1e-5)
