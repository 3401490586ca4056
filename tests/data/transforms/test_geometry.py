"""Where pixels come from, by OpenCV's conventions, on axes short enough to write down."""

import jax
import numpy as np

from mmnet_jax.data.transforms import geometry


def run(function, *arguments):
    """Compiled whole, which takes less time than operation by operation."""
    return jax.device_get(jax.jit(function)(*map(np.asarray, arguments)))


def test_half_pixel_centres():
    # Four pixels from eight: each lies in the middle of two.
    np.testing.assert_array_equal(run(geometry.half_pixel, np.arange(4), 2.0), [0.5, 2.5, 4.5, 6.5])


def test_taps_beyond_the_edge_see_the_edge_alone():
    low, high, weight = run(geometry.linear_taps, [-0.75, 0.25, 2.5, 3.2], 4)
    np.testing.assert_array_equal(low, [0, 0, 2, 3])
    np.testing.assert_array_equal(high, [1, 1, 3, 3])
    np.testing.assert_array_equal(weight, [0, 0.25, 0.5, 0])


def test_interpolation_sees_only_the_valid_part():
    image = np.full((4, 5, 1), 250, np.uint8)
    image[:2, :3, 0] = [[0, 10, 20], [100, 110, 120]]
    values = run(geometry.half_pixel_gather, image, [2, 3], [0.5, 1.7], [0.0, 1.5, 2.4])
    np.testing.assert_array_equal(values[..., 0], [[50, 65, 70], [100, 115, 120]])


def test_the_product_by_hand():
    image = np.array([[0, 10], [20, 30]], np.uint8).reshape(1, 2, 2, 1)
    values = run(geometry.half_pixel_product, image, [[0.0, 0.5, 3.0]], [[-1.0, 0.25, 1.0]])
    np.testing.assert_allclose(values[0, :, :, 0], [[0, 2.5, 10], [10, 12.5, 20], [20, 22.5, 30]])


def test_gathers_and_products_agree_between_pixels_and_beyond_the_edge():
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 2), np.uint8)
    rows = [[-0.7, 0.0, 2.25, 6.5], [0.5, 3.0, 3.1, 6.0], [1.0, 1.5, 5.75, 9.0]]
    columns = np.linspace([-1.0, 0.3, 2.0], [8.0, 7.9, 10.0], 5, axis=1)
    gathered = run(jax.vmap(geometry.half_pixel_gather), images, [[7, 9]] * 3, rows, columns)
    np.testing.assert_allclose(run(geometry.half_pixel_product, images, rows, columns), gathered, rtol=1e-5)


def test_reflection_does_not_repeat_the_edge():
    for size, reflected in ((4, [2, 1, 0, 1, 2, 3, 2, 1]), (1, [0] * 8)):
        np.testing.assert_array_equal(run(geometry.reflect, np.arange(-2, 6), size), reflected)


def test_a_quarter_turn_counter_clockwise():
    # About (2, 2): the pixel right of the centre goes above it.
    y, x = run(geometry.rotate, [1], [2], [4, 4], 90.0)
    np.testing.assert_allclose([y[0, 0], x[0, 0]], [2, 3], atol=1e-6)


def test_no_rotation_is_exact():
    y, x = run(geometry.rotate, np.arange(7), np.arange(501), [7, 501], 0.0)
    np.testing.assert_array_equal(y[:, 0], np.arange(7))
    np.testing.assert_array_equal(x[0], np.arange(501))


def test_normalisation_by_imagenet():
    values = run(geometry.normalise, [[[123.675, 116.28, 103.53], [255, 255, 255]]])[0]
    np.testing.assert_allclose(values[0], 0, atol=1e-6)
    np.testing.assert_allclose(values[1], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], 1e-6)
