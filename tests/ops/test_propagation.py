from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import ops
from mmnet_jax.ops import fuse_shots
from tests.ops import references

propagate = jax.jit(ops.propagate)


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_two_support_positions_worked_by_hand():
    # cosines with the query (1, 0): 1 and 0.6; both foreground
    query = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    support = jnp.array([[2.0, 0.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    values = jnp.array([[10.0], [20.0]]).reshape(1, 1, 2, 1)
    result = propagate(query, support, values, jnp.ones((1, 1, 2)))
    a, b = np.exp(1.0), np.exp(0.6)
    np.testing.assert_allclose(result.values.ravel(), [(10 * a + 20 * b) / (a + b)], rtol=1e-6)
    np.testing.assert_allclose(result.quality.ravel(), [a / (1 + a) + b / (1 + b)], rtol=1e-6)


def test_a_soft_mask_scales_the_cosine_before_the_softmax():
    query = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    support = jnp.array([[1.0, 0.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    values = jnp.array([[0.0], [1.0]]).reshape(1, 1, 2, 1)
    result = propagate(query, support, values, jnp.array([1.0, 0.25]).reshape(1, 1, 2))
    a, b = np.exp(1.0), np.exp(0.25)
    np.testing.assert_allclose(result.values.ravel(), [b / (a + b)], rtol=1e-6)


def test_negative_cosines_take_part_and_exact_zeros_do_not():
    query = jnp.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    support = jnp.array([[-1.0, 0.0], [0.0, 5.0]]).reshape(1, 1, 2, 2)  # cosines -1 and 0, both foreground
    values = jnp.array([[3.0], [100.0]]).reshape(1, 1, 2, 1)
    result = propagate(query, support, values, jnp.ones((1, 1, 2)))
    np.testing.assert_allclose(result.values.ravel(), [3.0], rtol=1e-6)
    np.testing.assert_allclose(result.quality.ravel(), [1 / (1 + np.e)], rtol=1e-6)


def test_without_foreground_all_is_zero_and_gradients_are_finite():
    arguments = draw(1, 3, 3, 4), draw(1, 3, 3, 4, seed=1), draw(1, 3, 3, 2, seed=2)
    mask = jnp.zeros((1, 3, 3))
    result = propagate(*arguments, mask)
    assert not result.values.any() and not result.quality.any()
    gradients = jax.grad(lambda *a: sum(jnp.sum(x) for x in propagate(*a, mask)), (0, 1, 2))(*arguments)
    assert all(not g.any() for g in gradients)


def test_nodes_of_length_zero_give_finite_gradients():
    nodes = jnp.zeros((1, 2, 2, 3))
    gradients = jax.grad(lambda q, s: jnp.sum(propagate(q, s, s, jnp.ones((1, 2, 2))).quality), (0, 1))(nodes, nodes)
    assert all(np.isfinite(g).all() for g in gradients)


def test_one_pixel_grids():
    result = propagate(jnp.ones((1, 1, 1, 3)), jnp.ones((1, 1, 1, 3)), jnp.full((1, 1, 1, 2), 5.0), jnp.ones((1, 1, 1)))
    np.testing.assert_allclose(result.values.ravel(), [5.0, 5.0])


def test_background_positions_change_nothing():
    query, support, values = draw(1, 4, 4, 6), draw(1, 4, 4, 6, seed=1), draw(1, 4, 4, 3, seed=2)
    mask = (jnp.arange(16).reshape(1, 4, 4) % 3 == 0).astype(jnp.float32)
    other = jnp.where(mask[..., None] > 0, support, 99.0)
    for a, b in zip(propagate(query, support, values, mask), propagate(query, other, values, mask), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_at_60_by_60_equals_float64(share):
    query, support, values = draw(2, 60, 60, 50), draw(2, 60, 60, 50, seed=1), draw(2, 60, 60, 50, seed=2)
    inside = jax.random.uniform(jax.random.key(4), (2, 60, 60)) < jnp.array([share, share / 2])[:, None, None]
    mask = jnp.where(inside, jax.random.uniform(jax.random.key(3), (2, 60, 60)), 0.0)
    ours = propagate(query, support, values, mask)
    for b in range(2):
        expected = references.propagate(
            *(np.asarray(x[b]).reshape(3600, -1) for x in (query, support, values)), np.asarray(mask[b]).ravel()
        )
        np.testing.assert_allclose(ours.values[b].reshape(3600, -1), expected[0], atol=1e-5)
        np.testing.assert_allclose(ours.quality[b].ravel(), expected[1], rtol=1e-5)


def test_gradients_of_all_arguments_equal_those_of_the_plain_formula():
    def plain(query, support, values, mask):
        q, s, h = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (query, support, values))
        lengths = jnp.linalg.norm(q, axis=-1)[:, :, None] * jnp.linalg.norm(s, axis=-1)[:, None, :]
        e = jnp.einsum("bpn,bsn->bps", q, s, precision="highest") / (lengths + 1e-7) * mask.reshape(len(mask), 1, -1)
        e = jnp.where(e == 0, -1e9, e)
        return jnp.einsum("bps,bsv->bpv", jax.nn.softmax(e, -1), h, precision="highest"), jax.nn.sigmoid(e).sum(-1)

    arguments = draw(2, 5, 6, 4), draw(2, 30, 30, 4, seed=1), draw(2, 30, 30, 3, seed=2)
    mask = jax.random.uniform(jax.random.key(3), (2, 30, 30))
    mask = jnp.where(mask > 0.3, mask, 0)  # two blocks, the second one partly used
    weigh = draw(2, 30, 3, seed=4), draw(2, 30, seed=5)

    def objective(function):
        def value(*a):
            v, p = function(*a)
            return jnp.sum(v.reshape(2, 30, 3) * weigh[0]) + jnp.sum(p.reshape(2, 30) * weigh[1])

        return jax.jit(jax.grad(value, (0, 1, 2, 3)))(*arguments, mask)

    ours, theirs = objective(propagate), objective(plain)
    for a, b in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()))
    foreground = mask > 0
    np.testing.assert_allclose(ours[3][foreground], theirs[3][foreground], atol=2e-5 * float(jnp.abs(theirs[3]).max()))


def test_vmap_over_queries_equals_a_loop():
    queries, support, values = draw(3, 4, 4, 6), draw(1, 4, 4, 6, seed=1), draw(1, 4, 4, 2, seed=2)
    mask = (jnp.arange(16).reshape(1, 4, 4) < 5).astype(jnp.float32)
    mapped = jax.vmap(lambda q: propagate(q[None], support, values, mask))(queries)
    for i in range(3):
        one = propagate(queries[i : i + 1], support, values, mask)
        np.testing.assert_allclose(mapped.values[i], one.values, atol=1e-6)
        np.testing.assert_allclose(mapped.quality[i], one.quality, atol=1e-6)


class TestFuseShots:
    def test_weights_are_the_softmax_of_the_qualities_at_each_position(self):
        maps = jnp.array([1.0, 5.0]).reshape(1, 2, 1, 1, 1)
        quality = jnp.array([0.0, np.log(3.0)]).reshape(1, 2, 1, 1)
        fused, weights = fuse_shots(maps, quality, jnp.ones((1, 2), bool))
        np.testing.assert_allclose(weights.ravel(), [0.25, 0.75], rtol=1e-6)
        np.testing.assert_allclose(fused.ravel(), [4.0], rtol=1e-6)

    def test_one_shot_is_the_identity(self):
        maps, quality = draw(2, 1, 3, 3, 4), draw(2, 1, 3, 3)
        fused, weights = fuse_shots(maps, quality, jnp.array([[True], [False]]))
        np.testing.assert_array_equal(fused, maps[:, 0])
        np.testing.assert_array_equal(weights, np.ones_like(weights))

    def test_a_shot_without_foreground_gets_no_weight_while_another_has_some(self):
        fused, weights = fuse_shots(
            draw(2, 2, 1, 1, 3), jnp.zeros((2, 2, 1, 1)), jnp.array([[False, True], [False, False]])
        )
        np.testing.assert_array_equal(weights.reshape(2, 2), [[0, 1], [0.5, 0.5]])
        assert np.isfinite(fused).all()

    def test_the_order_of_shots_does_not_matter(self):
        maps, quality, order = draw(1, 3, 2, 2, 4), draw(1, 3, 2, 2, seed=1), jnp.array([2, 0, 1])
        there = jnp.ones((1, 3), bool)
        fused, weights = fuse_shots(maps, quality, there)
        again, permuted = fuse_shots(maps[:, order], quality[:, order], there)
        np.testing.assert_allclose(fused, again, atol=1e-6)
        np.testing.assert_allclose(weights[:, order], permuted, atol=1e-6)

    def test_qualities_of_hundreds_stay_finite_and_gradients_too(self):
        quality = jnp.array([900.0, 100.0]).reshape(1, 2, 1, 1)
        there = jnp.array([[True, False]])
        gradient = jax.grad(lambda q: jnp.sum(fuse_shots(jnp.ones((1, 2, 1, 1, 1)), q, there)[0]))(quality)
        assert np.isfinite(gradient).all()
