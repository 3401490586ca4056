"""The benchmark of a training's input."""

import numpy as np
import pytest

from mmnet_jax import input_benchmark as benchmark
from mmnet_jax.data.dataset import Split
from mmnet_jax.errors import UserError
from mmnet_jax.training.loop import Job
from tests.data.synthetic import split_of_masks


def test_every_task_decodes_the_same_images(monkeypatch):
    read = []
    original = Split.record
    monkeypatch.setattr(Split, "record", lambda split, i: read.append(i) or original(split, i))
    split = split_of_masks([np.full((9, 12), i % 3, np.uint8) for i in range(19)])
    times = benchmark.measure_decoding(split, images=100, repeats=2)
    assert set(times) == {benchmark.JPEG, benchmark.OURS, benchmark.IMAGE_AND_MASK, benchmark.EPISODES}
    assert all(len(own) == 2 and min(own) > 0 for own in times.values())
    # whole batches of 8; once for the records, and once in each of two runs
    assert sorted(read) == sorted(3 * list(range(16)))


def test_a_split_that_does_not_fill_a_batch_is_refused():
    with pytest.raises(UserError, match=r"^decoding is measured on at least 8 images; the train split has 7\.$"):
        benchmark.measure_decoding(split_of_masks(7 * [np.eye(3, dtype=np.uint8)]), images=100, repeats=1)


def test_steps_on_one_batch_and_on_new_ones_take_turns():
    placed, taken = [], []
    job = Job(*[None] * len(Job._fields))._replace(
        state=0,
        update=lambda state, batch: (taken.append(batch) or state, {}),
        batches=lambda start: (batch for batch in range(start, 100)),
        place=lambda batch: placed.append(batch) or batch,
    )
    times = benchmark.measure_steps(job, steps=2, repeats=2, warm_up=1)
    assert [len(times[name]) for name in (benchmark.ONE_BATCH, benchmark.NEW_BATCHES)] == [2, 2]
    assert taken == [0, 0, 0, 1, 2, 3, 0, 0, 0, 5, 6, 7]
    assert placed == [*range(9)]  # the one batch; each block's own, and one that its last step put on the devices


def test_the_table_has_medians_and_their_ratios():
    text = benchmark.table({"a": [2.0, 1.0, 4.0], "b": [3.0]}, "ms", "a")
    assert text.splitlines() == [
        "| task | ms, median | fastest | over a |",
        "| --- | --- | --- | --- |",
        "| a | 2.00 | 1.00 | 1.00 |",
        "| b | 3.00 | 3.00 | 1.50 |",
    ]
