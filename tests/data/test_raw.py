"""Episodes as the host loads them."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import load_episodes, load_labels
from tests.data.making import split_of_masks


def test_labels_are_of_the_class_and_images_lie_top_left():
    masks = [np.array([[0, 3, 7], [255, 3, 0]], np.uint8), np.array([[3], [3], [7], [255]], np.uint8)]
    split = dataclasses.replace(split_of_masks(masks), max_side=5)
    specs = [EpisodeSpec(0, 3, (1,)), EpisodeSpec(1, 7, (0,))]
    raw = load_episodes(split, specs)

    labels, pixels = np.full((2, 2, 5, 5), 255), np.zeros((2, 2, 5, 5, 3))
    labels[0, 0, :2, :3] = [[0, 1, 0], [255, 1, 0]]  # class 7 is background here, a novel one would be too
    labels[0, 1, :4, 0] = [1, 1, 0, 255]
    labels[1, 0, :4, 0] = [0, 0, 1, 255]
    labels[1, 1, :2, :3] = [[0, 0, 1], [255, 0, 0]]
    pixels[0, 1, :4, 0] = pixels[1, 0, :4, 0] = 1  # image 1 is filled with ones, image 0 with zeros
    np.testing.assert_array_equal(raw.labels, labels)
    np.testing.assert_array_equal(raw.images, pixels)
    np.testing.assert_array_equal(raw.sizes, [[[2, 3], [4, 1]], [[4, 1], [2, 3]]])
    assert (raw.images.dtype, raw.labels.dtype, raw.sizes.dtype) == (np.uint8, np.uint8, np.int32)
    labels, sizes = load_labels(split, specs)
    np.testing.assert_array_equal(labels, raw.labels)
    np.testing.assert_array_equal(sizes, raw.sizes)
