"""Resized maps and pixel counts on the device, against hand-worked numbers and a slow float64 reference."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.evaluation.pixel_counts import (
    THRESHOLDS,
    count_above_thresholds,
    count_pixels,
    predicted_foreground,
    resize_to_label,
    threshold_bins,
)
from tests.evaluation.reference import episode_counts, resize_align_corners


def test_resize_interpolates_between_corners():
    maps = jnp.array([[[0.0, 4.0], [8.0, 12.0]]])
    out = resize_to_label(maps, jnp.array([5]), canvas=6)
    expected = np.add.outer(8 * np.arange(5) / 4, 4 * np.arange(5) / 4)
    np.testing.assert_allclose(out[0, :5, :5], expected, atol=1e-6)


def test_resize_down_takes_every_second_pixel():
    image = jnp.arange(25.0).reshape(1, 5, 5)
    out = resize_to_label(image, jnp.array([3]), canvas=4)
    np.testing.assert_array_equal(out[0, :3, :3], image[0, ::2, ::2])


def test_one_pixel_label_takes_the_first_pixel_as_align_corners_does():
    image = jnp.arange(9.0).reshape(1, 3, 3)
    assert resize_to_label(image, jnp.array([1]), canvas=2)[0, 0, 0] == 0


def test_resize_to_own_size_changes_nothing():
    image = jax.random.normal(jax.random.key(0), (1, 7, 7))
    np.testing.assert_array_equal(resize_to_label(image, jnp.array([7]), canvas=7), image)


def test_each_example_has_its_own_size_and_one_compilation_serves_all():
    maps = np.random.default_rng(0).normal(size=(4, 17, 17)).astype(np.float32)
    compiled = jax.jit(resize_to_label, static_argnums=2)
    for sides in ([17, 30, 2, 1], [5, 64, 33, 16]):
        out = compiled(maps, jnp.array(sides), 64)
        for image, resized, side in zip(maps, out, sides, strict=True):
            np.testing.assert_allclose(resized[:side, :side], resize_align_corners(image, side), atol=2e-6)
    assert compiled._cache_size() == 1


def test_constant_map_stays_exactly_constant():
    out = resize_to_label(jnp.full((1, 9, 9), 0.7), jnp.array([23]), canvas=24)
    assert np.unique(out).size == 1


def test_a_tie_is_background_as_in_argmax():
    logits = jnp.zeros((1, 3, 3, 2)).at[0, 0, 0, 1].set(1e-3)
    predicted = predicted_foreground(logits, jnp.array([3]), canvas=3)
    assert predicted.sum() == 1 and predicted[0, 0, 0]


def test_counts_of_a_label_worked_by_hand():
    label = jnp.array([[[1, 1, 0, 255], [1, 0, 0, 255], [255, 255, 255, 255], [255, 255, 255, 255]]], jnp.uint8)
    predicted = jnp.zeros((1, 4, 4), bool).at[0, 0].set(True)
    counts = jax.jit(count_pixels)(predicted, label)
    # Predicted foreground 1, 1, 0; background 1, 0, 0 in the second row; the fourth column does not count.
    assert counts.intersection.tolist() == [[2, 2]]
    assert counts.union.tolist() == [[4, 4]]
    assert counts.area.tolist() == [[3, 3]]
    assert counts.union.dtype == jnp.int32


def test_counts_stay_exact_where_float32_sums_would_not():
    side = 4100  # 16,810,000 pixels, more than 2^24
    label = jnp.zeros((1, side, side), jnp.uint8).at[0, 0, 0].set(1)
    counts = jax.jit(count_pixels)(jnp.zeros(label.shape, bool), label)
    assert counts.intersection.tolist() == [[side * side - 1, 0]]
    assert counts.union.tolist() == [[side * side, 1]]


def test_thresholds_count_pixels_at_or_above():
    confidence = jnp.array([[[0.0, 0.25], [0.5, 1.0]]])
    label = jnp.array([[[0, 1], [1, 255]]], jnp.uint8)
    above = count_above_thresholds(np.asarray(threshold_bins(confidence, label)))
    assert above.shape == (1, 2, THRESHOLDS)
    assert above[0, 0, 0] == 1 and above[0, 0, 1] == 0
    assert [int(above[0, 1, t]) for t in (0, 25, 26, 50, 51, 100)] == [2, 2, 1, 1, 0, 0]


def test_thresholds_agree_with_counting_one_threshold_at_a_time():
    random = np.random.default_rng(1)
    confidence = random.random((2, 20, 20)).astype(np.float32)
    label = random.choice([0, 1, 255], size=(2, 20, 20)).astype(np.uint8)
    above = count_above_thresholds(np.asarray(threshold_bins(jnp.asarray(confidence), jnp.asarray(label))))
    for t in range(THRESHOLDS):
        predicted = confidence >= np.float32(t / 100)
        for c in (0, 1):
            np.testing.assert_array_equal(above[:, c, t], (predicted & (label == c)).sum((1, 2)))


@pytest.mark.parametrize("size", [9, 33])
def test_counts_equal_the_slow_reference(size):
    random = np.random.default_rng(size)
    shapes = [(50, 33), (21, 64), (40, 40), (1, 13), (7, 1)]
    logits = random.normal(size=(len(shapes), size, size, 2)).astype(np.float32)
    labels = [random.choice([0, 1, 255], p=[0.5, 0.4, 0.1], size=shape).astype(np.uint8) for shape in shapes]
    canvas = np.full((len(shapes), 64, 64), 255, np.uint8)
    for padded, label in zip(canvas, labels, strict=True):
        padded[: label.shape[0], : label.shape[1]] = label
    sides = jnp.array([max(shape) for shape in shapes])
    counts = count_pixels(predicted_foreground(jnp.asarray(logits), sides, 64), jnp.asarray(canvas))
    for i, label in enumerate(labels):
        intersection, union = episode_counts(logits[i], label)
        assert counts.intersection[i].tolist() == intersection
        assert counts.union[i].tolist() == union


def test_resize_matches_pytorch():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(2).normal(size=(1, 1, 33, 33)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.tensor(image), (50, 50), mode="bilinear", align_corners=True)
    ours = resize_to_label(jnp.asarray(image[0]), jnp.array([50]), canvas=50)
    np.testing.assert_allclose(ours[0], theirs[0, 0], atol=1e-5)
