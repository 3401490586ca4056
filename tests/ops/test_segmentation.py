import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.ops import segmentation_loss


def test_the_mean_is_over_the_valid_pixels_of_the_whole_batch():
    logits = jnp.array([[[0.0, 0.0], [0.0, np.log(3.0)]], [[np.log(3.0), 0.0], [5.0, 1.0]]]).reshape(2, 1, 2, 2)
    labels = jnp.array([[1, 0], [0, 255]]).reshape(2, 1, 2)
    expected = (np.log(2) + np.log(4) + np.log(4 / 3)) / 3  # not the mean of the two images' means
    np.testing.assert_allclose(segmentation_loss(logits, labels), expected, rtol=1e-6)


def test_without_valid_pixels_loss_and_gradient_are_zero():
    logits, labels = jnp.ones((1, 2, 2, 2)), jnp.full((1, 2, 2), 255)
    assert float(segmentation_loss(logits, labels)) == 0
    assert not jax.grad(segmentation_loss)(logits, labels).any()


def test_extreme_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4]]).reshape(1, 1, 1, 2)
    value, gradient = jax.value_and_grad(segmentation_loss)(logits, jnp.ones((1, 1, 1), int))
    np.testing.assert_allclose(value, 2e4)
    np.testing.assert_allclose(gradient.ravel(), [1, -1])


def test_losses_of_parts_of_a_batch_sum_to_the_whole():
    logits = jax.random.normal(jax.random.key(0), (4, 3, 3, 2))
    labels = jnp.array([0, 1, 255])[jax.random.randint(jax.random.key(1), (4, 3, 3), 0, 3)]
    num_valid = jnp.sum(labels != 255).astype(jnp.float32)
    parts = sum(segmentation_loss(logits[i : i + 2], labels[i : i + 2], num_valid) for i in (0, 2))
    np.testing.assert_allclose(parts, segmentation_loss(logits, labels), rtol=1e-6)
