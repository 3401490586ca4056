"""Resampling by OpenCV's conventions against hand-worked values."""

import jax
import numpy as np
import pytest

from mmnet_jax.data.transforms import geometry


def run(function, *arguments):
    """Runs a function compiled, which is faster than operation by operation."""
    return jax.device_get(jax.jit(function)(*map(np.asarray, arguments)))


def gather(image, size, rows, columns):
    """The image's top left part at a grid of positions."""
    return geometry.half_pixel_gather(image, *map(geometry.linear_taps, (rows, columns), size))


SMALL, WHITE = np.full((4, 5, 1), 250, np.uint8), (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
SMALL[:2, :3, 0] = [[0, 10, 20], [100, 110, 120]]
SQUARE = np.array([[0, 10], [20, 30]], np.uint8).reshape(1, 2, 2, 1)
PRODUCT = [[0, 2.5, 10], [10, 12.5, 20], [20, 22.5, 30]]
BY_HAND = {
    "four pixels from eight lie in the middle of two": (geometry.half_pixel, (np.arange(4), 2.0), [0.5, 2.5, 4.5, 6.5]),
    "taps beyond the edge see the edge alone": (
        geometry.linear_taps,
        ([-0.75, 0.25, 2.5, 3.2], 4),
        ([0, 0, 2, 3], [1, 1, 3, 3], [0, 0.25, 0.5, 0]),
    ),
    "three pixels from five, and five from three": (
        lambda out, size, resized: jax.vmap(geometry.resized_taps, (None, 0, 0))(out, size, resized),
        (np.arange(3), [5, 3], [3, 5]),
        # positions 1/3, 2, 11/3; and -1/5, 2/5, 1
        ([[0, 2, 3], [0, 0, 1]], [[1, 3, 4], [1, 1, 2]], [[1 / 3, 0, 2 / 3], [0, 2 / 5, 0]]),
    ),
    "interpolation sees only the valid part": (
        lambda image, *arguments: gather(image[..., None], *arguments)[..., 0],
        (SMALL[..., 0], [2, 3], [0.5, 1.7], [0.0, 1.5, 2.4]),
        [[50, 65, 70], [100, 115, 120]],
    ),
    "the product": (
        lambda *arguments: geometry.half_pixel_product(*arguments)[0, :, :, 0],
        (SQUARE, [[0.0, 0.5, 3.0]], [[-1.0, 0.25, 1.0]]),
        PRODUCT,
    ),
    "reflection does not repeat the edge": (geometry.reflect, (np.arange(-2, 6), 4), [2, 1, 0, 1, 2, 3, 2, 1]),
    "reflection of one pixel": (geometry.reflect, (np.arange(-2, 6), 1), [0] * 8),
    # About (2, 2): the pixel right of the centre goes above it.
    "a quarter turn counter-clockwise": (geometry.rotate, ([1], [2], [4, 4], 90.0), ([[2]], [[3]])),
    "normalisation": (geometry.normalise, ([[[123.675, 116.28, 103.53], [255] * 3]],), [[[0, 0, 0], WHITE]]),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_values_by_hand(case):
    function, arguments, expected = BY_HAND[case]
    values = run(function, *arguments)
    for value, want in zip(values, expected, strict=True) if isinstance(values, tuple) else [(values, expected)]:
        np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-6)


def test_gathers_and_products_agree_between_pixels_and_beyond_the_edge():
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 2), np.uint8)
    rows = [[-0.7, 0.0, 2.25, 6.5], [0.5, 3.0, 3.1, 6.0], [1.0, 1.5, 5.75, 9.0]]
    columns = np.linspace([-1.0, 0.3, 2.0], [8.0, 7.9, 10.0], 5, axis=1)
    gathered = run(jax.vmap(gather), images, [[7, 9]] * 3, rows, columns)
    np.testing.assert_allclose(run(geometry.half_pixel_product, images, rows, columns), gathered, rtol=1e-5)


def test_no_rotation_is_exact():
    y, x = run(geometry.rotate, np.arange(7), np.arange(501), [7, 501], 0.0)
    np.testing.assert_array_equal(y[:, 0], np.arange(7))
    np.testing.assert_array_equal(x[0], np.arange(501))
