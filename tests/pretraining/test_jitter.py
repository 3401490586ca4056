import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.data.transforms.geometry import normalise
from mmnet_jax.pretraining import jitter as module
from mmnet_jax.pretraining.jitter import centre, recolour

jitter = jax.jit(module.jitter, static_argnames=("side", "colour"))


def draw_images(count=4, size=20, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)), jnp.uint8)


def test_the_centre_of_a_larger_image():
    images = draw_images(size=80)
    expected = normalise(images[:, 5:75, 5:75].astype(jnp.float32))
    np.testing.assert_allclose(jax.jit(centre, static_argnums=1)(images, 70), expected, atol=1e-5)


def test_an_image_of_the_target_size_is_only_mirrored():
    images = draw_images(count=16)
    straight = normalise(images.astype(jnp.float32))
    y = jitter(jax.random.key(0), images, side=20, colour=0.0)
    is_straight, is_mirrored = (np.abs(y - x).max(axis=(1, 2, 3)) < 1e-4 for x in (straight, straight[:, :, ::-1]))
    assert (is_straight ^ is_mirrored).all()
    assert 0 < is_mirrored.sum() < 16
    np.testing.assert_allclose(centre(images, 20), straight, atol=1e-5)


def test_a_window_lies_inside_the_image_and_covers_most_of_it():
    rows = jnp.broadcast_to(jnp.arange(40, dtype=jnp.uint8)[None, :, None, None], (64, 40, 40, 3))
    y = np.asarray(jitter(jax.random.key(1), rows, side=32, colour=0.0))
    y = 255 * (y[..., 0] * 0.229 + 0.485)  # the row that each pixel comes from
    assert y.min() >= -1e-3 and y.max() <= 39 + 1e-3
    assert (y[:, 0] < y[:, -1]).all()
    shown = (y[:, -1, 0] - y[:, 0, 0]) * 32 / 31
    smallest = 40 * module.MIN_WINDOW / module.ASPECT**0.5
    assert shown.min() > 0.95 * smallest and shown.max() <= 40 * 32 / 31
    assert shown.std() > 1
    assert np.ptp(y[:, 0, 0]) > 2  # windows begin at different rows


def test_brightness_changes_within_its_range_for_each_image():
    images = jnp.full((32, 8, 8, 3), 100, jnp.uint8)
    y = 255 * (np.asarray(jitter(jax.random.key(2), images, side=8)) * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406])
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1, :1, :1], y.shape), atol=0.01)  # still grey and uniform
    grey = y[:, 0, 0, 0]
    assert 70 <= grey.min() < 80 and 120 < grey.max() <= 130


def test_saturation_and_contrast_keep_the_mean_grey():
    x = np.random.default_rng(0).integers(100, 140, (3, 8, 8, 3)).astype(np.float32)
    factors = jnp.array([1.0, 1.3, 0.7])  # brightness, contrast, saturation
    y = recolour(jnp.asarray(x), jnp.broadcast_to(factors[:, None, None, None, None], (3, 3, 1, 1, 1)))
    weights = np.array([0.299, 0.587, 0.114])
    mean = (x @ weights).mean(axis=(1, 2))[:, None, None, None]
    contrasted = mean + 1.3 * (x - mean)
    grey = (contrasted @ weights)[..., None]
    np.testing.assert_allclose(y, grey + 0.7 * (contrasted - grey), rtol=1e-4)


def test_jitter_is_a_function_of_its_key_on_one_device_and_on_several():
    images, jitter_to = draw_images(count=8, size=25), functools.partial(jitter, side=20)
    first, again, other = (jitter_to(jax.random.key(seed), images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == (8, 20, 20, 3) and first.dtype == jnp.float32
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    np.testing.assert_allclose(jitter_to(jax.random.key(0), jax.device_put(images, split)), first, atol=1e-5)
