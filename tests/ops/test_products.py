"""Products in bfloat16 with float32 sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops.products import product

BF16 = jnp.bfloat16


def test_factors_are_rounded_and_sums_are_float32():
    x = jnp.array([[1 + 2**-9, 2.0]])  # the first is 1 in bfloat16
    np.testing.assert_array_equal(product("pn,qn->pq", x, x, BF16), [[5.0]])
    np.testing.assert_allclose(product("pn,qn->pq", x, x), [[4 + (1 + 2**-9) ** 2]], rtol=1e-7)
    ones = jnp.ones((1, 300))  # in bfloat16 a sum of ones stays at 256
    assert product("pn,qn->pq", ones, ones, BF16) == 300 and product("pn,qn->pq", ones, ones, BF16).dtype == jnp.float32


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (BF16, 0.01)])
def test_the_gradient_equals_that_of_einsum(dtype, tolerance):
    keys = jax.random.split(jax.random.key(0), 3)
    x, y, g = (jax.random.normal(k, s) for k, s in zip(keys, [(2, 5, 7), (2, 4, 7), (2, 5, 4)], strict=True))
    plain = lambda x, y: jnp.einsum("bpn,bsn->bps", x, y, precision="highest")  # noqa: E731
    ours, theirs = (jax.vjp(f, x, y)[1](g) for f in (lambda x, y: product("bpn,bsn->bps", x, y, dtype), plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * float(jnp.abs(b).max()))
