import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import ops
from tests.ops import references

foreground_confidence = jax.jit(ops.foreground_confidence)


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    ("query", "support", "mask", "expected"),
    [
        ([[1, 0], [3, 4], [0, 1]], [[1, 0], [0, 1]], [1, 0], [1, 0.6, 0]),  # cosines already from 0 to 1
        ([[1, 0], [-1, 0], [-0.6, 0.8]], [[1, 0], [0, 9]], [1, 0], [1, 0, 0]),  # 1, -1, -0.6 raised to 0 by background
        ([[1, 0], [-1, 0], [-0.6, 0.8]], [[1, 0]], [1], [1, 0, 0.2]),  # (-0.6 + 1) / 2
        ([[1, 1]], [[1, 1]], [1], [0]),  # a grid of one pixel
    ],
)
def test_confidence_worked_by_hand(query, support, mask, expected):
    query, support, mask = (jnp.array(x, float) for x in (query, support, mask))
    result = foreground_confidence(query[None, None], support[None, None, None], mask[None, None, None])
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-6)


def test_a_positive_mask_does_not_change_the_cosine():
    query, support = draw(1, 4, 4, 8), draw(1, 1, 4, 4, 8, seed=1)
    hard = (jnp.arange(16).reshape(1, 1, 4, 4) < 6).astype(jnp.float32)
    whole, scaled = (foreground_confidence(query, support, mask) for mask in (hard, 0.3 * hard))
    np.testing.assert_allclose(whole, scaled, atol=1e-6)


def test_shots_are_averaged_without_those_that_have_no_foreground():
    query, support = draw(1, 4, 4, 8), draw(1, 3, 4, 4, 8, seed=1)
    mask = (draw(1, 3, 4, 4, seed=2) > 0).astype(jnp.float32).at[:, 2].set(0)
    alone = [foreground_confidence(query, support[:, k : k + 1], mask[:, k : k + 1]) for k in range(2)]
    np.testing.assert_allclose(foreground_confidence(query, support, mask), (alone[0] + alone[1]) / 2, atol=1e-6)
    assert not foreground_confidence(query, support, jnp.zeros_like(mask)).any()


def test_the_confidence_map_has_no_gradient():
    value = lambda query: jnp.sum(foreground_confidence(query, query[:, None], jnp.ones((1, 1, 2, 2))))  # noqa: E731
    assert not jax.grad(value)(draw(1, 2, 2, 3)).any()


@pytest.mark.parametrize("fraction", [0.05, 1.0])
def test_at_60_by_60_equals_float64(fraction):
    query, support = draw(2, 60, 60, 64), draw(2, 2, 60, 60, 64, seed=1)
    mask = jnp.where(jax.random.uniform(jax.random.key(3), (2, 2, 60, 60)) < fraction, 1.0, 0.0).at[1, 1].mul(0.5)
    expected = [references.confidence(*one) for one in zip(query, support, mask, strict=True)]
    np.testing.assert_allclose(foreground_confidence(query, support, mask), expected, atol=1e-5)
