"""Pixel counts on the device against hand-worked numbers and a slow float64 reference."""

import jax
import jax.numpy as jnp
import numpy as np

from mmnet_jax.evaluation import pixel_counts
from mmnet_jax.evaluation.pixel_counts import THRESHOLDS, count_above_thresholds, predicted_foreground, threshold_bins
from mmnet_jax.evaluation.predictions import count_pixels as count_on_host
from tests.evaluation.reference import episode_counts

count_pixels = jax.jit(pixel_counts.count_pixels)


def test_a_tie_is_background_as_in_argmax():
    logits = jnp.zeros((1, 3, 3, 2)).at[0, 0, 0, 1].set(1e-3)
    predicted = jax.jit(predicted_foreground, static_argnums=2)(logits, jnp.array([3]), 3)
    assert predicted.sum() == 1 and predicted[0, 0, 0]


def test_counts_of_a_label_worked_by_hand():
    label = jnp.array([[[1, 1, 0, 255], [1, 0, 0, 255], [255, 255, 255, 255], [255, 255, 255, 255]]], jnp.uint8)
    predicted = jnp.zeros((1, 4, 4), bool).at[0, 0].set(True)
    counts = count_pixels(predicted, label)
    # Predicted foreground 1, 1, 0; background 1, 0, 0 in the second row; the fourth column does not count.
    found = [x.tolist() for x in (counts.intersection, counts.union, counts.area)]
    assert found == [[[2, 2]], [[4, 4]], [[3, 3]]] and counts.union.dtype == jnp.int32
    assert count_on_host(np.asarray(predicted[0]), np.asarray(label[0])).tolist() == [[2, 2], [4, 4], [3, 3]]
    assert not count_on_host(np.zeros((1, 1), bool), np.array([[255]], np.uint8)).any()


def test_counts_stay_exact_where_float32_sums_would_not():
    side = 4100  # 16,810,000 pixels, more than 2^24
    label = jnp.zeros((1, side, side), jnp.uint8).at[0, 0, 0].set(1)
    counts = count_pixels(jnp.zeros(label.shape, bool), label)
    assert counts.intersection.tolist() == [[side * side - 1, 0]]
    assert counts.union.tolist() == [[side * side, 1]]


def test_threshold_counts_equal_counting_each_threshold_alone():
    confidence = jnp.array([[[0.0, 0.25], [0.5, 1.0]]])
    label = jnp.array([[[0, 1], [1, 255]]], jnp.uint8)
    above = count_above_thresholds(np.asarray(threshold_bins(confidence, label)))
    assert above.shape == (1, 2, THRESHOLDS)
    assert above[0, 0, 0] == 1 and above[0, 0, 1] == 0
    assert [int(above[0, 1, t]) for t in (0, 25, 26, 50, 51, 100)] == [2, 2, 1, 1, 0, 0]
    random = np.random.default_rng(1)
    confidence = random.random((2, 20, 20)).astype(np.float32)
    label = random.choice([0, 1, 255], size=(2, 20, 20)).astype(np.uint8)
    above = count_above_thresholds(np.asarray(threshold_bins(jnp.asarray(confidence), jnp.asarray(label))))
    for t in range(THRESHOLDS):
        predicted = confidence >= np.float32(t / 100)
        for c in (0, 1):
            np.testing.assert_array_equal(above[:, c, t], (predicted & (label == c)).sum((1, 2)))


def test_counts_equal_the_slow_reference(size=33):
    random = np.random.default_rng(size)
    shapes = [(50, 33), (21, 64), (40, 40), (1, 13), (7, 1)]
    logits = random.normal(size=(len(shapes), size, size, 2)).astype(np.float32)
    labels = [random.choice([0, 1, 255], p=[0.5, 0.4, 0.1], size=shape).astype(np.uint8) for shape in shapes]
    canvas = np.stack([np.pad(x, ((0, 64 - len(x)), (0, 64 - x.shape[1])), constant_values=255) for x in labels])
    sides = jnp.array([max(shape) for shape in shapes])
    counts = count_pixels(jax.jit(predicted_foreground, static_argnums=2)(logits, sides, 64), canvas)
    expected = [episode_counts(*episode) for episode in zip(logits, labels, strict=True)]
    assert list(zip(counts.intersection.tolist(), counts.union.tolist(), strict=True)) == expected
