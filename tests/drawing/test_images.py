"""Drawn images, checked by their pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.drawing.images import fit_image, fit_mask, fit_size, heat, outline, overlay, png_bytes, support_tile


def test_an_outline_follows_the_masks_edge_but_not_the_images_border():
    mask = np.zeros((5, 6), bool)
    mask[1:, :4] = True  # touches the left and the lower border
    expected = np.zeros((5, 6), bool)
    expected[1, :4] = expected[1:, 3] = True
    np.testing.assert_array_equal(outline(mask), expected)
    expected[2, :4] = expected[1:, 2] = True
    np.testing.assert_array_equal(outline(mask, width=2), expected)


def test_an_overlay_tints_the_mask_and_nothing_else():
    image = np.full((5, 5, 3), 100, np.uint8)
    mask = np.zeros((5, 5), bool)
    np.testing.assert_array_equal(overlay(image, mask), image)
    mask[1:4, 1:4] = True
    out = overlay(image, mask, colour=(200, 0, 100), opacity=0.5)
    assert (out[~mask] == 100).all() and (image == 100).all()
    assert out[2, 2].tolist() == [150, 50, 100]
    assert out[1, 1].tolist() == [200, 0, 100]  # the outline is not transparent


def test_heat_colours_grow_lighter_and_saturate_at_both_ends():
    colours = heat(np.linspace(-0.5, 1.5, 201)[None])[0].astype(int)
    lightness = colours @ [299, 587, 114]
    assert (np.diff(lightness) >= 0).all()
    assert (colours[:51] == colours[0]).all() and (colours[150:] == colours[-1]).all()


def test_a_png_keeps_the_pixels():
    image = np.random.default_rng(2).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(image)))), image)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((4000, 6000), (100, 150)), ((5, 7), (107, 150)), ((20, 4000), (8, 150)), ((900, 1), (150, 8))],
)
def test_an_image_of_any_size_fits_its_tile(size, fitted):
    assert fit_size(size, 150) == fitted
    assert fit_image(np.zeros((*size, 3), np.uint8), 150).shape == (*fitted, 3)
    assert fit_mask(np.ones(size, bool), 150).shape == fitted


def test_a_single_pixel_of_a_large_mask_survives_scaling():
    mask = np.zeros((3000, 4000), bool)
    assert not fit_mask(mask, 100).any()
    mask[1500, 2000] = True
    fitted = fit_mask(mask, 100)
    assert fitted.sum() == 1 and fitted[37, 50] | fitted[38, 50]
    assert fit_mask(~mask, 100).all()


@pytest.mark.parametrize("colour", [(0, 0, 0), (90, 90, 90), (255, 255, 255), (250, 200, 40)])
def test_a_support_tile_distinguishes_a_mask_from_its_inverse(colour):
    """For any colours of the image, the class is the lighter part, and yellowish."""
    image = np.full((60, 60, 3), colour, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    tile, opposite = (support_tile(image, m, 60).astype(int) for m in (mask, ~mask))
    inside, outside = np.s_[25:35, 25:35], np.s_[5:15, 5:15]
    for one, other in ((tile[inside], tile[outside]), (opposite[outside], opposite[inside])):
        assert one.sum(axis=-1).min() > other.sum(axis=-1).max() + 100
        assert (one[..., 0] > one[..., 2]).all()
