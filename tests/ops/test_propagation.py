import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import ops
from mmnet_jax.ops import fuse_shots
from tests.ops import references
from tests.ops.references import sigmoid

propagate = jax.jit(ops.propagate)


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    ("support", "values", "mask", "expected", "cosines"),
    [
        ([[2, 0], [3, 4]], [10, 20], [1, 1], (10 * np.e + 20 * np.exp(0.6)) / (np.e + np.exp(0.6)), [1, 0.6]),
        # a soft mask scales the cosine before the softmax
        ([[1, 0], [1, 0]], [0, 1], [1, 0.25], np.exp(0.25) / (np.e + np.exp(0.25)), [1, 0.25]),
        ([[-1, 0], [0, 5]], [3, 100], [1, 1], 3, [-1]),  # negative cosines take part, exact zeros do not
        ([[7, 0]], [5], [1], 5, [1]),  # a grid of one pixel
    ],
)
def test_one_query_position_worked_by_hand(support, values, mask, expected, cosines):
    query = jnp.array([[1.0, 0.0]])
    support, values, mask = (jnp.array(x, float) for x in (support, values, mask))
    result = propagate(query[None, None], support[None, None], values[None, None, :, None], mask[None, None])
    np.testing.assert_allclose(result.values.ravel(), [expected], rtol=1e-6)
    np.testing.assert_allclose(result.quality.ravel(), [sum(sigmoid(np.array(cosines)))], rtol=1e-6)


def test_without_foreground_values_quality_and_gradients_are_zero():
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


def test_features_of_background_positions_do_not_matter():
    query, support, values = draw(1, 4, 4, 6), draw(1, 4, 4, 6, seed=1), draw(1, 4, 4, 3, seed=2)
    mask = (jnp.arange(16).reshape(1, 4, 4) % 3 == 0).astype(jnp.float32)
    other = jnp.where(mask[..., None] > 0, support, 99.0)
    for a, b in zip(propagate(query, support, values, mask), propagate(query, other, values, mask), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fraction", [0.1, 1.0])
def test_at_60_by_60_equals_float64(fraction):
    # positive, because among 26 million cosines around 0 float32 rounds one or two to exactly 0, which are left out
    nodes = [jnp.abs(draw(2, 60, 60, 50, seed=seed)) for seed in range(3)]
    inside = jax.random.uniform(jax.random.key(4), (2, 60, 60)) < fraction * jnp.array([1, 0.5])[:, None, None]
    mask = jnp.where(inside, jax.random.uniform(jax.random.key(3), (2, 60, 60)), 0.0)
    ours = propagate(*nodes, mask)
    for b in range(2):
        values, quality = references.propagate(*(x[b] for x in nodes), mask[b])
        np.testing.assert_allclose(ours.values[b], values, atol=1e-5)
        np.testing.assert_allclose(ours.quality[b], quality, rtol=1e-5)


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

    def gradients(function):
        def value(*a):
            v, p = function(*a)
            return jnp.sum(v.reshape(2, 30, 3) * weigh[0]) + jnp.sum(p.reshape(2, 30) * weigh[1])

        return jax.jit(jax.grad(value, (0, 1, 2, 3)))(*arguments, mask)

    ours, theirs = gradients(propagate), gradients(plain)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        part = mask > 0 if i == 3 else ...
        np.testing.assert_allclose(a[part], b[part], atol=2e-5 * float(jnp.abs(b).max()))


def test_vmap_over_queries_equals_a_loop():
    queries, support, values = draw(3, 4, 4, 6), draw(1, 4, 4, 6, seed=1), draw(1, 4, 4, 2, seed=2)
    mask = (jnp.arange(16).reshape(1, 4, 4) < 5).astype(jnp.float32)
    mapped = jax.vmap(lambda q: propagate(q[None], support, values, mask))(queries)
    for i in range(3):
        one = propagate(queries[i : i + 1], support, values, mask)
        np.testing.assert_allclose(mapped.values[i], one.values, atol=1e-6)
        np.testing.assert_allclose(mapped.quality[i], one.quality, atol=1e-6)


@pytest.mark.parametrize(
    ("quality", "has_foreground", "expected"),
    [
        ([0, np.log(3)], [True, True], [0.25, 0.75]),  # the softmax of the qualities
        ([900, 100], [True, True], [1, 0]),  # of hundreds
        ([900, 100], [True, False], [1, 0]),
        ([0, 0], [False, True], [0, 1]),
        ([0, 0], [False, False], [0.5, 0.5]),
        ([5], [False], [1]),
        ([5], [True], [1]),
    ],
)
def test_weights_of_shots_worked_by_hand(quality, has_foreground, expected):
    quality, has_foreground = jnp.array(quality, float)[None, :, None, None], jnp.array(has_foreground)[None]
    maps = draw(1, len(expected), 1, 1, 3)
    fused, weights = fuse_shots(maps, quality, has_foreground)
    np.testing.assert_allclose(weights.ravel(), expected, rtol=1e-6)
    tolerance = 1e-6 if len(expected) > 1 else 0  # fusing one shot is the identity
    np.testing.assert_allclose(
        fused.ravel(), np.array(expected) @ np.asarray(maps).reshape(-1, 3), rtol=tolerance, atol=tolerance
    )
    assert np.isfinite(jax.grad(lambda q: jnp.sum(fuse_shots(maps, q, has_foreground)[0]))(quality)).all()


def test_the_order_of_shots_does_not_matter():
    maps, quality, order = draw(1, 3, 2, 2, 4), draw(1, 3, 2, 2, seed=1), jnp.array([2, 0, 1])
    fused, weights = fuse_shots(maps, quality, jnp.ones((1, 3), bool))
    again, permuted = fuse_shots(maps[:, order], quality[:, order], jnp.ones((1, 3), bool))
    np.testing.assert_allclose(fused, again, atol=1e-6)
    np.testing.assert_allclose(weights[:, order], permuted, atol=1e-6)
