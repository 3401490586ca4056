"""Pictures by their pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.drawing.pictures import (
    episode_sheet,
    fit_mask,
    fit_picture,
    fit_size,
    heat,
    outline,
    overlay,
    png_bytes,
    resize_map,
)
from mmnet_jax.evaluation.protocols import draw_manifest
from mmnet_jax.evaluation.runner import evaluate
from tests.evaluation.reference import resize_align_corners


def test_an_outline_is_the_masks_own_edge_but_not_the_pictures():
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
    mask[1:4, 1:4] = True
    out = overlay(image, mask, colour=(200, 0, 100), opacity=0.5)
    assert (out[~mask] == 100).all() and (image == 100).all()
    assert out[2, 2].tolist() == [150, 50, 100]
    assert out[1, 1].tolist() == [200, 0, 100]  # the outline is not transparent


def test_an_empty_mask_leaves_the_image():
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(image, np.zeros((6, 4), bool)), image)


def test_heat_grows_lighter_and_holds_its_ends():
    colours = heat(np.linspace(-0.5, 1.5, 201)[None])[0].astype(int)
    lightness = colours @ [299, 587, 114]
    assert (np.diff(lightness) >= 0).all()
    assert (colours[:51] == colours[0]).all() and (colours[150:] == colours[-1]).all()


@pytest.mark.parametrize("side", [1, 2, 7, 40])
def test_a_map_is_resized_with_corners_on_corners(side):
    values = np.random.default_rng(1).normal(size=(9, 9))
    np.testing.assert_allclose(resize_map(values, (side, side)), resize_align_corners(values, side), atol=1e-12)
    np.testing.assert_allclose(resize_map(values, (side, 9)), resize_map(values.T, (9, side)).T, atol=1e-12)


def test_a_png_holds_the_very_pixels():
    picture = np.random.default_rng(2).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(picture)))), picture)


def test_a_sheet_has_a_row_for_each_sample_and_a_column_for_each_picture(network, config, dataset):
    manifest = draw_manifest(dataset, fold=1, shots=2, protocol="pfenet", seed=0, min_pixels=20, episodes=8)
    result = evaluate(*network, config, dataset, manifest, samples=3)
    assert len(result.samples) == 3
    sheet = episode_sheet(result, dataset)
    # a row is as high as its highest picture: 150 pixels where one of them is upright, less where all are wide
    heights = [
        max(
            fit_size(dataset.test.read(i)[1].shape, 150)[0]
            for i in (
                result.manifest.episodes[sample.episode].query,
                *result.manifest.episodes[sample.episode].supports,
            )
        )
        for sample in result.samples
    ]
    assert sheet.shape == (22 + sum(heights) + 3 * 6, 96 + (2 + 4 + 3) * 156, 3)
    # the last tile is the heat of the last activation, without the query's padding
    sample = result.samples[-1]
    height, width = fit_size(sample.predicted.shape, 150)
    expected = heat(resize_map(sample.activations[-1], (150, 150))[:height, :width])
    left, top = 96 + 8 * 156, sheet.shape[0] - 6 - heights[-1]
    shown = sheet[top : top + height, left : left + width]
    np.testing.assert_array_equal(shown[30:], expected[30:])  # its number stands above
    assert (sheet[top : top + height, left + width :] == 255).all()


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((4000, 6000), (100, 150)), ((5, 7), (107, 150)), ((20, 4000), (8, 150)), ((900, 1), (150, 8))],
)
def test_a_picture_of_any_size_fits_its_tile(size, fitted):
    assert fit_size(size, 150) == fitted
    assert fit_picture(np.zeros((*size, 3), np.uint8), 150).shape == (*fitted, 3)
    assert fit_mask(np.ones(size, bool), 150).shape == fitted


def test_a_single_pixel_of_a_large_mask_is_not_lost_and_nothing_is_added():
    mask = np.zeros((3000, 4000), bool)
    assert not fit_mask(mask, 100).any()
    mask[1500, 2000] = True
    fitted = fit_mask(mask, 100)
    assert fitted.sum() == 1 and fitted[37, 50] | fitted[38, 50]
    assert fit_mask(~mask, 100).all()
