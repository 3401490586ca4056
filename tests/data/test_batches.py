"""The training batches: the same for any workers and processes, and resumed exactly."""

from __future__ import annotations

import functools
import itertools
import json

import jax
import numpy as np
import pytest

from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.episodes import EpisodeIndex, training_episode
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.errors import UserError
from tests.data.making import split_of_masks

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


def test_batch_b_holds_episodes_b_times_b_on():
    for b, batch in enumerate(itertools.islice(batches(), 10)):
        assert_same(batch, expected(b))
    assert_same(next(batches(start_step=17)), expected(17))


def test_worker_processes_give_the_same_batches_and_resume():
    iterator = batches(workers=2)
    for b in range(5):
        assert_same(next(iterator), expected(b))
    state = json.loads(json.dumps(iterator.get_state()))
    ahead = [next(iterator) for _ in range(2)]
    iterator.set_state(state)
    for b, batch in enumerate(ahead):
        assert_same(batch, expected(5 + b))
        assert_same(next(iterator), batch)


def test_two_processes_share_a_batch():
    first, second = (batches(process_index=i, process_count=2) for i in range(2))
    for b in range(6):
        together = jax.tree.map(lambda *parts: np.concatenate(parts), next(first), next(second))
        assert_same(together, expected(b))


def test_a_state_resumes_exactly():
    iterator = batches()
    for _ in range(3):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    fresh = batches()
    fresh.set_state(state)
    for b in range(3, 7):
        assert_same(next(fresh), expected(b))


def test_a_batch_that_cannot_be_filled_or_shared_is_refused():
    with pytest.raises(UserError, match=r"training\.batch_size = 4 does not divide among 3 processes"):
        batches(process_count=3)
    with pytest.raises(UserError, match=r"images are admitted, too few for a batch of 64"):
        batches(batch_size=64)
