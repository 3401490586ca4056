import contextlib
import itertools

import jax
import numpy as np
import pytest

from mmnet_jax.pretraining.crops import cut, list_crops, open_crops
from mmnet_jax.pretraining.labelled import ordered_batches, shuffled_batches
from tests.data.synthetic import split_of_counts, split_of_masks


def rectangle(height, width, top, left, bottom, right):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def numbered(height, width):
    """An image whose red is the row of each pixel, and green its column."""
    image = np.full((height, width, 3), 7, np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)[None]
    return image


def test_a_crop_for_each_class_with_enough_pixels():
    split = split_of_counts([[900, 50, 0, 49], [900, 0, 70, 50], [1000, 0, 0, 0]])
    assert list_crops(split, (1, 3), 50) == [(0, 1, 0), (1, 3, 1)]


def test_a_crop_is_the_objects_square_with_its_margin_moved_inside():
    # 10 rows of 6 columns: 13 pixels around the middle, from (15 + 25 - 13) // 2 = 13 and (30 + 36 - 13) // 2 = 26 on
    pixels = cut(numbered(60, 70), rectangle(60, 70, 15, 30, 25, 36), 13)
    np.testing.assert_array_equal(pixels, numbered(60, 70)[13:26, 26:39])
    pixels = cut(numbered(40, 40), rectangle(40, 40, 0, 30, 10, 40), 13)
    np.testing.assert_array_equal(pixels, numbered(40, 40)[:13, 27:])


def test_a_crop_is_of_the_largest_connected_part():
    mask = rectangle(60, 60, 2, 2, 8, 8) | rectangle(60, 60, 30, 30, 40, 40) | rectangle(60, 60, 55, 0, 56, 20)
    mask[40, 40] = True  # touches by a corner
    np.testing.assert_array_equal(cut(numbered(60, 60), mask, 14)[0, 0], [28, 28, 7])


def test_a_square_larger_than_the_image_is_filled_with_the_mean_colour():
    pixels = cut(numbered(40, 20), rectangle(40, 20, 5, 0, 35, 20), 39)  # 39 columns are wanted, 20 are there
    np.testing.assert_array_equal(pixels[:, 9:29], numbered(40, 20)[:39])
    for filling in (pixels[:, :9], pixels[:, 29:]):
        np.testing.assert_array_equal(filling, np.broadcast_to([124, 116, 104], filling.shape))


def test_a_crop_is_resized_to_the_side():
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:30, 20:30] = 200
    pixels = cut(image, rectangle(60, 60, 20, 20, 30, 30), 26)
    assert pixels.shape == (26, 26, 3)
    np.testing.assert_array_equal(pixels[[13, 0], [13, 0]], [[200] * 3, [0] * 3])


@pytest.fixture(scope="module")
def crops():
    masks = [np.zeros((20, 24), np.uint8) for _ in range(5)]
    for i, mask in enumerate(masks):
        mask[2:10, 2:10] = 1 + i % 3
        mask[12:18, 3 : 3 + i] = 5
        mask[18] = 255
    arguments, size = (split_of_masks(masks), (5, 1, 2), 18, 8, lambda line: None), 6 * 8 * 8 * 3
    return {fits: open_crops(*arguments, memory=size if fits else size - 1) for fits in (True, False)}


@pytest.fixture(scope="module")
def pixels(crops):
    return crops[True].take(np.arange(6), np.arange(6))[0]


def test_crops_are_kept_in_memory_if_they_fit_and_equal_those_cut_on_demand(crops, pixels):
    assert [(crops[fits].in_memory, len(crops[fits])) for fits in (True, False)] == [(True, 6), (False, 6)]
    on_demand, labels = crops[False].take(np.arange(6), np.arange(6))
    np.testing.assert_array_equal(pixels, on_demand)
    np.testing.assert_array_equal(labels, [1, 2, 0, 1, 0, 2])  # of images 0, 1, 3, 3, 4, 4
    np.testing.assert_array_equal(pixels[:, 4, 4, 0], [0, 1, 3, 3, 4, 4])


def take(batches, count):
    with contextlib.closing(batches):
        return list(itertools.islice(batches, count))


def test_an_epoch_of_batches_holds_every_image_once(crops, pixels):
    shuffled = np.concatenate([images for images, _ in take(shuffled_batches(crops[True], 3, 4), 3)])
    every = np.sort(pixels.reshape(6, -1).sum(axis=1, dtype=int))
    epochs = [shuffled[i : i + 6].reshape(6, -1).sum(axis=1, dtype=int) for i in (0, 6)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), every)
    assert (epochs[0] != epochs[1]).any()


def test_a_batch_is_a_function_of_the_seed_and_its_number(crops):
    batches = take(shuffled_batches(crops[True], 3, 4), 5)
    resumed = take(shuffled_batches(crops[False], 3, 4, start=2), 3)
    jax.tree.map(np.testing.assert_array_equal, resumed, batches[2:])
    other = take(shuffled_batches(crops[True], 4, 4), 4)
    assert any((mine[1] != their[1]).any() for mine, their in zip(other, batches, strict=False))


def test_the_last_batch_in_order_is_filled_up_with_images_labelled_minus_1(crops):
    batches = list(ordered_batches(crops[False], 4))
    np.testing.assert_array_equal([labels for _, labels in batches], [[1, 2, 0, 1], [0, 2, -1, -1]])
    assert batches[1][0].shape == (4, 8, 8, 3)
