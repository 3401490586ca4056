import numpy as np

from mmnet_jax import input_benchmark as benchmark
from mmnet_jax.data.dataset import Split
from mmnet_jax.training.head import open_training
from mmnet_jax.workdir.folder import Workdir
from tests.data.making import split_of_masks
from tests.training.tiny_training import tiny_config, tiny_dataset


def test_decoding_takes_every_image_as_often_in_each_task(monkeypatch):
    read = []
    original = Split.record
    monkeypatch.setattr(Split, "record", lambda split, i: read.append(i) or original(split, i))
    split = split_of_masks([np.full((9, 12), i % 3, np.uint8) for i in range(19)])
    times = benchmark.measure_decoding(split, images=100, repeats=2)
    assert set(times) == {benchmark.JPEG, benchmark.OURS, benchmark.BOTH, benchmark.EPISODES, benchmark.AHEAD}
    assert all(len(own) == 2 and min(own) > 0 for own in times.values())
    # whole batches of 8; once to have the records, and twice in two runs each
    assert sorted(read) == sorted(5 * list(range(16)))


def test_steps_on_one_batch_and_on_new_ones_take_turns(tmp_path):
    config, dataset = tiny_config(), tiny_dataset()
    workdir = Workdir(tmp_path)
    workdir.create(config, dataset.fingerprints())
    training = open_training(config, workdir, dataset, lambda line: None)
    placed = []
    training = training._replace(place=lambda batch, place=training.place: placed.append(batch) or place(batch))
    times = benchmark.measure_steps(training, steps=2, repeats=2, warm_up=1)
    assert [len(times[name]) for name in (benchmark.FIXED, benchmark.REAL)] == [2, 2]
    assert len(placed) == 1 + 2 * 4  # the one batch; each block's own, and one that its last step put on the devices


def test_the_table_has_medians_and_how_they_compare():
    text = benchmark.table({"a": [2.0, 1.0, 4.0], "b": [3.0]}, "ms", "a")
    assert text.splitlines() == [
        "| | ms, median | fastest | over a |",
        "|---|---|---|---|",
        "| a | 2.00 | 1.00 | 1.00 |",
        "| b | 3.00 | 3.00 | 1.50 |",
    ]
