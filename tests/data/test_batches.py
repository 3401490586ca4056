"""Raw episodes, and training batches: the same for any number of workers and processes, and resumed exactly."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from mmnet_jax.data.batches import read_ahead, training_batches
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, training_episode
from mmnet_jax.data.raw import load_episodes, load_labels
from mmnet_jax.errors import UserError
from tests.data.synthetic import split_of_masks

RANDOM = np.random.default_rng(0)
SPLIT = split_of_masks([RANDOM.integers(0, 4, (6 + i % 3, 9 - i % 4), dtype=np.uint8) for i in range(13)])
INDEX = EpisodeIndex.build(SPLIT, (1, 2, 3), min_pixels=8, shots=2)


def batches(workers=0, batch_size=4, **options):
    load = functools.partial(load_episodes, SPLIT)
    return training_batches(load, INDEX, seed=321, batch_size=batch_size, workers=workers, **options)


def expected(batch):
    return load_episodes(SPLIT, [training_episode(INDEX, 321, 4 * batch + i, 4) for i in range(4)])


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_labels_mark_the_class_and_images_lie_top_left():
    masks = [np.array([[0, 3, 7], [255, 3, 0]], np.uint8), np.array([[3], [3], [7], [255]], np.uint8)]
    split = dataclasses.replace(split_of_masks(masks), max_side=5)
    specs = [EpisodeSpec(0, 3, (1,)), EpisodeSpec(1, 7, (0,))]
    labels, pixels = np.full((2, 2, 5, 5), 255), np.zeros((2, 2, 5, 5, 3))
    labels[0, 0, :2, :3] = [[0, 1, 0], [255, 1, 0]]  # class 7 is background here, a novel one would be too
    labels[0, 1, :4, 0] = [1, 1, 0, 255]
    labels[1, 0, :4, 0] = [0, 0, 1, 255]
    labels[1, 1, :2, :3] = [[0, 0, 1], [255, 0, 0]]
    pixels[0, 1, :4, 0] = pixels[1, 0, :4, 0] = 1  # image 1 is filled with ones, image 0 with zeros
    raw = load_episodes(split, specs)
    assert_same((raw.images, raw.labels, raw.sizes), (pixels, labels, [[[2, 3], [4, 1]], [[4, 1], [2, 3]]]))
    assert (raw.images.dtype, raw.labels.dtype, raw.sizes.dtype) == (np.uint8, np.uint8, np.int32)
    assert_same(load_labels(split, specs), (raw.labels, raw.sizes))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_successive_episodes_and_resume_exactly(workers):
    iterator = batches(workers=workers)
    for b in range(5):
        assert_same(next(iterator), expected(b))
    state = json.loads(json.dumps(iterator.get_state()))
    ahead = [next(iterator) for _ in range(2)]
    iterator.set_state(state)
    for b, batch in enumerate(ahead):
        assert_same(batch, expected(5 + b))
        assert_same(next(iterator), batch)


def test_a_new_iterator_resumes_at_a_step_or_a_state():
    assert_same(next(batches(start_step=17)), expected(17))
    iterator, fresh = batches(), batches()
    for _ in range(3):
        next(iterator)
    fresh.set_state(json.loads(json.dumps(iterator.get_state())))
    assert_same(next(fresh), expected(3))


def test_two_processes_share_a_batch():
    first, second = (batches(process_index=i, process_count=2) for i in range(2))
    for b in range(6):
        assert_same(jax.tree.map(lambda *parts: np.concatenate(parts), next(first), next(second)), expected(b))


def test_grain_does_not_print_the_arguments_of_a_partial():
    class Unprintable:
        def __repr__(self):
            raise AssertionError("the text of a table of features would fill the memory")

    read = functools.partial(lambda table, number: number, Unprintable())
    assert list(read_ahead(read, range(3))) == [0, 1, 2]


def test_a_batch_that_cannot_be_filled_or_shared_is_refused():
    with pytest.raises(UserError, match=r"training\.batch_size = 4 does not divide among 3 processes"):
        batches(process_count=3)
    with pytest.raises(UserError, match=r"images are admitted, too few for a batch of 64"):
        batches(batch_size=64)
