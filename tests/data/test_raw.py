"""Episodes as the host loads them."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import load_episodes
from tests.data.making import split_of_masks


def test_labels_are_of_the_class_and_images_lie_top_left():
    masks = [np.array([[0, 3, 7], [255, 3, 0]], np.uint8), np.array([[3], [3], [7], [255]], np.uint8)]
    raw = load_episodes(
        dataclasses.replace(split_of_masks(masks), max_side=5), [EpisodeSpec(0, 3, (1,)), EpisodeSpec(1, 7, (0,))]
    )

    first, second = np.full((5, 5), 255), np.full((5, 5), 255)
    first[:2, :3] = [[0, 1, 0], [255, 1, 0]]  # class 7 is background here, a novel one would be too
    second[:4, 0] = [0, 0, 1, 255]
    np.testing.assert_array_equal(raw.query_label, [first, second])
    first[:2, :3] = [[0, 0, 1], [255, 0, 0]]
    second[:4, 0] = [1, 1, 0, 255]
    np.testing.assert_array_equal(raw.support_labels, [[second], [first]])

    pixels = np.zeros((5, 5), int)
    pixels[:4, 0] = 1  # image 1 is filled with ones, image 0 with zeros
    np.testing.assert_array_equal(raw.query_image[1], np.repeat(pixels[..., None], 3, axis=-1))
    np.testing.assert_array_equal(raw.support_images[0, 0], raw.query_image[1])
    np.testing.assert_array_equal(raw.query_size, [[2, 3], [4, 1]])
    np.testing.assert_array_equal(raw.support_sizes, [[[4, 1]], [[2, 3]]])
    assert {leaf.dtype for leaf in (raw.query_image, raw.query_label, raw.support_images, raw.support_labels)} == {
        np.dtype(np.uint8)
    }
    assert {leaf.dtype for leaf in (raw.query_size, raw.support_sizes)} == {np.dtype(np.int32)}
