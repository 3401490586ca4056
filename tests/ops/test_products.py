"""Products in bfloat16 with float32 sums, and how far the operations made of them are from float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import ops
from mmnet_jax.ops.products import product
from tests.ops import references

BF16 = jnp.bfloat16


def test_factors_are_rounded_and_sums_are_float32():
    x = jnp.array([[1 + 2**-9, 2.0]])  # the first is 1 in bfloat16
    np.testing.assert_array_equal(product("pn,qn->pq", x, x, BF16), [[5.0]])
    np.testing.assert_allclose(product("pn,qn->pq", x, x), [[4 + (1 + 2**-9) ** 2]], rtol=1e-7)
    ones = jnp.ones((1, 300))  # in bfloat16 a sum of ones stays at 256
    assert product("pn,qn->pq", ones, ones, BF16) == 300 and product("pn,qn->pq", ones, ones, BF16).dtype == jnp.float32


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (BF16, 0.01)])
def test_the_gradient_is_the_plain_products(dtype, tolerance):
    keys = jax.random.split(jax.random.key(0), 3)
    x, y, g = (jax.random.normal(k, s) for k, s in zip(keys, [(2, 5, 7), (2, 4, 7), (2, 5, 4)], strict=True))
    plain = lambda x, y: jnp.einsum("bpn,bsn->bps", x, y, precision="highest")  # noqa: E731
    ours, theirs = (jax.vjp(f, x, y)[1](g) for f in (lambda x, y: product("bpn,bsn->bps", x, y, dtype), plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max()))


def activations(seed, *shape):
    """As wide as a fresh memory makes them."""
    return jax.nn.sigmoid(4 * jax.random.normal(jax.random.key(seed), shape))


def test_in_bfloat16_propagation_is_within_half_a_percent_of_float64():
    query, support, values = (activations(i, 1, 25, 25, 50) for i in range(3))
    mask = jnp.maximum(jax.random.uniform(jax.random.key(3), (1, 25, 25), minval=-2), 0)
    ours = ops.propagate(query, support, values, mask, BF16)
    carried, quality = references.propagate(query[0], support[0], values[0], mask[0])
    np.testing.assert_allclose(ours.values[0], carried, rtol=5e-3)
    np.testing.assert_allclose(ours.quality[0], quality, rtol=5e-3)


def test_in_bfloat16_the_confidence_map_is_within_a_hundredth_of_float64():
    query = jax.random.normal(jax.random.key(0), (1, 12, 12, 256)) + 1
    support = jax.random.normal(jax.random.key(1), (1, 2, 12, 12, 256)) + 1
    mask = (jax.random.uniform(jax.random.key(2), (1, 2, 12, 12)) > 0.5).astype(jnp.float32)
    expected = references.confidence(query[0], support[0], mask[0])
    np.testing.assert_allclose(ops.foreground_confidence(query, support, mask, BF16)[0], expected, atol=0.01)


def test_in_bfloat16_the_reconstruction_loss_is_within_two_percent_of_float64():
    logits = 20 * jax.random.normal(jax.random.key(0), (1, 30, 30, 50))
    probabilities = jax.nn.softmax(logits / 20, axis=-1)
    expected = references.reconstruction(logits[0], probabilities[0])
    np.testing.assert_allclose(ops.reconstruction_loss(logits, probabilities, BF16)[0], expected, rtol=0.02)


def test_in_bfloat16_memory_logits_are_within_a_hundredth_of_their_spread():
    features = jax.random.normal(jax.random.key(0), (1, 9, 9, 256))
    memory = jax.random.normal(jax.random.key(1), (50, 256))
    exact = np.asarray(features, np.float64) @ np.asarray(memory, np.float64).T
    np.testing.assert_allclose(ops.memory_logits(features, memory, BF16), exact, atol=0.01 * exact.std() * 3)
