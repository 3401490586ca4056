import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.ops import memory_activations, memory_logits, reconstruction_loss
from tests.ops import references


def test_activation_is_the_sigmoid_of_the_product_with_each_embedding():
    features = jnp.array([1.0, 2.0])[None, None, None]
    memory = jnp.array([[1.0, 1.0], [0.0, -1.0], [2.0, -1.0]])
    np.testing.assert_allclose(memory_logits(features, memory)[0, 0, 0], [3.0, -2.0, 0.0])
    np.testing.assert_allclose(memory_activations(features, memory)[0, 0, 0], [0.9525741, 0.1192029, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("logits", "probabilities", "expected"),
    [
        # C_f[p, r] = sum_n probabilities_p[n] logits_r[n] = [[2, 1], [0, 3]]
        ([[2, 0], [1, 3]], np.eye(2), (np.log(np.exp(2) + 1) - 2 + np.log(np.exp(1) + np.exp(3)) - 3) / 2),
        (np.ones((15, 4)), np.full((15, 4), 0.25), np.log(15)),  # all positions look alike
        (np.ones((1, 3)), np.full((1, 3), 1 / 3), 0),  # one position
    ],
)
def test_reconstruction_worked_by_hand(logits, probabilities, expected):
    logits, probabilities = (jnp.array(2 * [[x]], jnp.float32) for x in (logits, probabilities))
    np.testing.assert_allclose(reconstruction_loss(logits, probabilities), 2 * [expected], rtol=1e-6, atol=1e-6)


def test_reconstruction_at_60_by_60_equals_float64():
    logits = 20 * jax.random.normal(jax.random.key(0), (2, 60, 60, 50))  # as wide as a fresh memory makes them
    probabilities = jax.nn.softmax(logits / 20, axis=-1)
    expected = [references.reconstruction(*one) for one in zip(logits, probabilities, strict=True)]
    np.testing.assert_allclose(jax.jit(reconstruction_loss)(logits, probabilities), expected, rtol=1e-5)


def test_reconstruction_gradient_equals_that_of_the_plain_formula():
    def plain(logits, probabilities):
        x, p = (y.reshape(y.shape[0], -1, y.shape[-1]) for y in (logits, probabilities))
        agreement = jnp.einsum("bpn,brn->bpr", p, x, precision="highest")
        losses = jax.nn.logsumexp(agreement, axis=1) - jnp.diagonal(agreement, axis1=1, axis2=2)
        return jnp.mean(losses, axis=1)

    logits = 3 * jax.random.normal(jax.random.key(0), (2, 25, 25, 7))  # more than one block
    probabilities = jax.nn.softmax(logits, axis=-1)
    weigh = jnp.array([1.0, 2.0])
    ours, theirs = (
        jax.jit(jax.grad(lambda *a, f=function: jnp.sum(weigh * f(*a)), (0, 1)))(logits, probabilities)
        for function in (reconstruction_loss, plain)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(b).max()))
