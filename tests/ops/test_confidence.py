from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import ops
from tests.ops import references

foreground_confidence = jax.jit(ops.foreground_confidence, static_argnums=3)


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_three_query_positions_worked_by_hand():
    # highest cosines with the only foreground position (1, 0): 1, 0.6, 0; already from 0 to 1
    query = jnp.array([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).reshape(1, 1, 3, 2)
    support = jnp.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 1, 2, 2)
    mask = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(foreground_confidence(query, support, mask).ravel(), [1, 0.6, 0], atol=1e-6)


def test_background_contributes_a_zero_to_the_maximum():
    query = jnp.array([[1.0, 0.0], [-1.0, 0.0], [-0.6, 0.8]]).reshape(1, 1, 3, 2)
    support = jnp.array([[1.0, 0.0], [0.0, 9.0]]).reshape(1, 1, 1, 2, 2)
    with_background = foreground_confidence(query, support, jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2))
    np.testing.assert_allclose(with_background.ravel(), [1, 0, 0], atol=1e-6)  # cosines 1, -1, -0.6 raised to 0
    without = foreground_confidence(query, support[:, :, :, :1], jnp.ones((1, 1, 1, 1)))
    np.testing.assert_allclose(without.ravel(), [1, 0, 0.2], atol=1e-6)  # (-0.6 + 1) / 2


def test_a_positive_mask_does_not_change_the_cosine():
    query, support = draw(1, 4, 4, 8), draw(1, 1, 4, 4, 8, seed=1)
    hard = (jnp.arange(16).reshape(1, 1, 4, 4) < 6).astype(jnp.float32)
    np.testing.assert_allclose(
        foreground_confidence(query, support, hard), foreground_confidence(query, support, 0.3 * hard), atol=1e-6
    )


def test_shots_are_averaged_and_one_without_foreground_is_left_out():
    query, support = draw(1, 4, 4, 8), draw(1, 3, 4, 4, 8, seed=1)
    mask = (draw(1, 3, 4, 4, seed=2) > 0).astype(jnp.float32).at[:, 2].set(0)
    alone = [foreground_confidence(query, support[:, k : k + 1], mask[:, k : k + 1]) for k in range(2)]
    np.testing.assert_allclose(foreground_confidence(query, support, mask), (alone[0] + alone[1]) / 2, atol=1e-6)
    assert not foreground_confidence(query, support, jnp.zeros_like(mask)).any()


def test_no_gradient_flows():
    gradient = jax.grad(lambda q: jnp.sum(foreground_confidence(q, q[:, None], jnp.ones((1, 1, 2, 2)))))(
        draw(1, 2, 2, 3)
    )
    assert not gradient.any()


def test_one_pixel_grid_is_zero_and_finite():
    assert (
        float(foreground_confidence(jnp.ones((1, 1, 1, 2)), jnp.ones((1, 1, 1, 1, 2)), jnp.ones((1, 1, 1, 1)))[0, 0, 0])
        == 0
    )


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_at_60_by_60_equals_float64(share):
    query, support = draw(2, 60, 60, 64), draw(2, 2, 60, 60, 64, seed=1)
    mask = jnp.where(jax.random.uniform(jax.random.key(3), (2, 2, 60, 60)) < share, 1.0, 0.0).at[1, 1].mul(0.5)
    ours = foreground_confidence(query, support, mask)
    for b in range(2):
        expected = references.confidence(
            np.asarray(query[b]).reshape(3600, 64),
            np.asarray(support[b]).reshape(2, 3600, 64),
            np.asarray(mask[b]).reshape(2, 3600),
        )
        np.testing.assert_allclose(ours[b].ravel(), expected, atol=1e-5)


def test_bfloat16_products_stay_near():
    query, support = jnp.abs(draw(1, 10, 10, 256)), jnp.abs(draw(1, 1, 10, 10, 256, seed=1))
    mask = (draw(1, 1, 10, 10, seed=2) > 0).astype(jnp.float32)
    full, half = (foreground_confidence(query, support, mask, t) for t in (jnp.float32, jnp.bfloat16))
    assert 0 < float(jnp.abs(full - half).max()) < 0.05
