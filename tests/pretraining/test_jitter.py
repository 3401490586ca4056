from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.data.transforms.geometry import normalise
from mmnet_jax.pretraining import jitter as module
from mmnet_jax.pretraining.jitter import centre, jitter


def draw_images(count=4, size=20, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)), jnp.uint8)


def test_the_centre_of_an_image_with_room():
    images = draw_images(size=80)
    np.testing.assert_allclose(centre(images, 70), normalise(images[:, 5:75, 5:75].astype(jnp.float32)), atol=1e-5)


def test_an_image_without_room_is_only_mirrored(monkeypatch):
    monkeypatch.setattr(module, "COLOUR", 0.0)
    images = draw_images(count=16)
    straight = normalise(images.astype(jnp.float32))
    mirrored = straight[:, :, ::-1]
    y = jitter(jax.random.key(0), images, 20)
    is_straight, is_mirrored = (np.abs(y - x).max(axis=(1, 2, 3)) < 1e-4 for x in (straight, mirrored))
    assert (is_straight ^ is_mirrored).all()
    assert 0 < is_mirrored.sum() < 16
    np.testing.assert_allclose(centre(images, 20), straight, atol=1e-5)


def test_a_window_shows_the_image_alone_and_most_of_it(monkeypatch):
    monkeypatch.setattr(module, "COLOUR", 0.0)
    rows = jnp.broadcast_to(jnp.arange(40, dtype=jnp.uint8)[None, :, None, None], (64, 40, 40, 3))
    y = jitter(jax.random.key(1), rows, 32) - normalise(jnp.zeros((1, 1, 1, 3)))
    y = y[..., 0] * 0.229 * 255  # the row that each pixel comes from
    assert y.min() >= -1e-3 and y.max() <= 39 + 1e-3
    assert (y[:, 0] < y[:, -1]).all()
    shown = (y[:, -1, 0] - y[:, 0, 0]) * 32 / 31
    smallest = 40 * module.SMALLEST / module.ASPECT**0.5
    assert shown.min() > 0.95 * smallest and shown.max() <= 40 * 32 / 31
    assert shown.std() > 1
    assert np.ptp(y[:, 0, 0]) > 2  # windows begin at different rows


def test_colours_change_from_image_to_image_within_their_range():
    images = jnp.full((32, 8, 8, 3), 100, jnp.uint8)
    mean, std = (255 * np.array(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    y = jitter(jax.random.key(2), images, 8) * std[None, None, None] + mean[None, None, None]
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1, :1, :1], y.shape), atol=0.01)  # grey and even they stay
    grey = np.asarray(y[:, 0, 0, 0])
    assert 70 <= grey.min() < 80 and 120 < grey.max() <= 130


def test_saturation_and_contrast_keep_the_mean_grey(monkeypatch):
    images = jnp.asarray(np.random.default_rng(0).integers(100, 140, (3, 8, 8, 3)), jnp.uint8)
    drawn = jnp.array([1.0, 1.3, 0.7])  # brightness, contrast, saturation
    monkeypatch.setattr(module, "COLOUR", 1.0)
    monkeypatch.setattr(
        jax.random, "uniform", lambda *_, **__: jnp.broadcast_to(drawn[:, None] - 1, (3, 3))[..., None, None, None]
    )
    x = images.astype(jnp.float32)
    y = module._recolour(jax.random.key(0), x)
    weights = np.array([0.299, 0.587, 0.114])
    mean = (np.asarray(x) @ weights).mean(axis=(1, 2))[:, None, None, None]
    contrasted = mean + 1.3 * (np.asarray(x) - mean)
    grey = (contrasted @ weights)[..., None]
    np.testing.assert_allclose(y, grey + 0.7 * (contrasted - grey), rtol=1e-4)


def test_an_image_is_jittered_as_its_key_says():
    images = draw_images(size=40)
    first, again, other = (jitter(jax.random.key(seed), images, 32) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    assert first.shape == (4, 32, 32, 3) and first.dtype == jnp.float32


def test_batches_on_several_devices_are_jittered_as_on_one():
    images = draw_images(count=8, size=25)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    fn = jax.jit(jitter, static_argnums=2)
    np.testing.assert_allclose(
        fn(jax.random.key(0), jax.device_put(images, split), 20), fn(jax.random.key(0), images, 20), atol=1e-5
    )
