"""Episode sampling: PFENet's rules on sets small enough to follow by hand."""

import collections
import dataclasses
import logging

import numpy as np
import pytest

from mmnet_jax.data import episodes as sampling  # its testing_episode looks like a test to pytest
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.episodes import EpisodeIndex, training_episode, training_index
from mmnet_jax.errors import UserError
from tests.data.synthetic import split_of_counts

MIN = 2048

# Pixels of background and classes 1, 2, 3.
COUNTS = [
    [0, 5000, 0, 0],  # 0
    [0, 2048, 100, 0],  # 1: class 2 is too small to be a support
    [0, 0, 3000, 2047],  # 2: class 3 one pixel short
    [9000, 0, 0, 0],  # 3: none of the classes
    [0, 0, 4000, 0],  # 4
    [0, 2047, 2047, 0],  # 5: nothing large enough
    [0, 3000, 3000, 0],  # 6
    [0, 2500, 0, 9000],  # 7
]


def build(classes=(1, 2), shots=1, counts=COUNTS, **options):
    return EpisodeIndex.build(split_of_counts(counts), classes, MIN, shots, **options)


def raw_numbers(seed, stream, i, count):
    return [int(n) for n in np.random.Philox(np.random.SeedSequence((seed, stream, i))).random_raw(count)]


def plain_episode(counts, classes, shots, query, numbers):
    """Chooses a class among those present, then pops supports from the rest of its list."""
    present = [c for c in sorted(classes) if counts[query][c] > 0]
    class_id = present[numbers[0] * len(present) // 2**64]
    return query, class_id, plain_supports(counts, class_id, query, shots, numbers[1:])


def plain_supports(counts, class_id, query, shots, numbers, distinct=True):
    """Pops supports from the rest of the class's list, or takes them from the whole list, which may repeat them."""
    candidates = [i for i in range(len(counts)) if counts[i][class_id] >= MIN and i != query]
    take = candidates.pop if distinct else candidates.__getitem__
    return tuple(take(n * len(candidates) // 2**64) for n in numbers[:shots])


def random_counts(images=40, classes=6):
    random = np.random.default_rng(1)
    table = random.integers(0, 6000, (images, classes + 1)) * (random.random((images, classes + 1)) < 0.4)
    return table.tolist()


def test_admission_needs_min_pixels_of_one_class():
    index = build()
    assert index.admitted.tolist() == [0, 1, 2, 4, 6, 7]
    assert index.present == ((1,), (1, 2), (2,), (2,), (1, 2), (1,))
    assert {c: list(images) for c, images in index.support_lists.items()} == {1: [0, 1, 6, 7], 2: [2, 4, 6]}


@pytest.mark.parametrize("shots", [1, 3])
def test_training_and_testing_follow_the_plain_rule(shots):
    counts, classes, batch, seed = random_counts(), [1, 2, 3, 5, 6], 4, 7
    index = build(classes, shots, counts)
    admitted = [i for i, row in enumerate(counts) if any(row[c] >= MIN for c in classes)]
    per_epoch = len(admitted) // batch * batch
    assert len(admitted) > per_epoch == index.episodes_per_epoch(batch), "the test needs an incomplete batch"
    for i in range(3 * per_epoch):
        epoch, position = divmod(i, per_epoch)
        order = raw_numbers(seed, 0, epoch, len(admitted))
        query = admitted[sorted(range(len(admitted)), key=order.__getitem__)[position]]
        expected = plain_episode(counts, classes, shots, query, raw_numbers(seed, 1, i, 1 + shots))
        assert dataclasses.astuple(training_episode(index, seed, i, batch)) == expected
        query, numbers = admitted[i % len(admitted)], raw_numbers(seed, 2, i, 1 + shots)  # in the list's order, cycled
        expected = plain_episode(counts, classes, shots, query, numbers)
        assert dataclasses.astuple(sampling.testing_episode(index, seed, i)) == expected


def test_a_small_second_class_is_queried_half_the_time_and_is_never_a_support():
    index = build()
    episodes = [sampling.testing_episode(index, 0, i) for i in range(1200)]
    queried = collections.Counter(e.class_id for e in episodes if e.query == 1)
    assert queried.total() == 200
    assert abs(queried[2] - 100) < 36  # five standard deviations
    assert all(1 not in e.supports for e in episodes if e.class_id == 2)
    assert any(1 in e.supports for e in episodes if e.class_id == 1)


@pytest.mark.parametrize("distinct", [True, False])
def test_supports_are_never_the_query_and_all_equally_likely(distinct):
    index = build(classes=(1,), shots=2, distinct_supports=distinct)
    episodes = (training_episode(index, 5, i, 4) for i in range(2400))
    drawn = collections.Counter((e.query, e.supports) for e in episodes)
    # 4 queries, each with the ordered pairs of the 3 others: 3 * 2, or 3 * 3 where a support may repeat
    assert len(drawn) == (24 if distinct else 36) and all(query not in supports for query, supports in drawn)
    assert not distinct or all(len(set(supports)) == 2 for _, supports in drawn)
    mean = 2400 / len(drawn)
    assert all(abs(count - mean) < 5 * mean**0.5 for count in drawn.values())


def test_an_epoch_queries_every_image_once_and_the_next_in_another_order():
    index = build()
    orders = [[training_episode(index, 1, 6 * epoch + i, 3).query for i in range(6)] for epoch in range(3)]
    assert all(sorted(order) == [0, 1, 2, 4, 6, 7] for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_the_last_incomplete_batch_is_dropped():
    index = build()
    assert index.episodes_per_epoch(4) == 4
    epochs = [[training_episode(index, 1, 4 * epoch + i, 4).query for i in range(4)] for epoch in range(40)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert set().union(*epochs) == {0, 1, 2, 4, 6, 7}
    with pytest.raises(UserError, match="6 images are admitted, too few for a batch of 8"):
        training_episode(index, 0, 0, 8)


def test_an_episode_is_a_function_of_seed_and_number_alone():
    index, again = build(shots=2), build(shots=2)
    episodes = [training_episode(index, 9, i, 2) for i in range(50)]
    assert [training_episode(again, 9, i, 2) for i in reversed(range(50))] == episodes[::-1]
    assert [training_episode(index, 10, i, 2) for i in range(50)] != episodes
    assert [sampling.testing_episode(index, 9, i).supports for i in range(50)] != [e.supports for e in episodes]


def test_seeds_give_the_same_episodes_in_every_version():
    # Golden values: a change means that earlier runs cannot be reproduced.
    index = build(shots=2)
    episodes = [dataclasses.astuple(training_episode(index, 321, i, 2)) for i in range(4)]
    assert episodes == [(0, 1, (1, 6)), (2, 2, (4, 6)), (1, 1, (0, 7)), (4, 2, (6, 2))]


def test_classes_with_too_few_images_are_named_and_left_out_as_queries_and_supports(caplog):
    with caplog.at_level(logging.WARNING):
        index = build(classes=(1, 2, 3), class_names=["background", "cat", "dog", "horse"])
    assert "left out of the train split, with fewer than 2 eligible images: horse (1)" in caplog.text
    # As without class 3, which is in images 2 and 7.
    expected = build(classes=(1, 2))
    assert index.present == expected.present
    np.testing.assert_array_equal(index.admitted, expected.admitted)
    assert sorted(index.support_lists) == [1, 2]


def test_an_image_admitted_by_a_left_out_class_alone_is_not_admitted():
    # Image 0 is large enough in class 3 only, which has one image; its small class 1 does not admit it.
    index = build(classes=(1, 3), counts=[[0, 10, 0, 9000], [0, 3000, 0, 0], [0, 3000, 0, 0]])
    assert sorted(index.support_lists) == [1]
    assert index.admitted.tolist() == [1, 2]


def test_shots_decide_how_many_images_a_class_needs():
    assert sorted(build(shots=2).support_lists) == [1, 2]
    assert sorted(build(shots=3).support_lists) == [1]
    with pytest.raises(UserError) as error:
        build(classes=(1, 2), shots=4, class_names=["background", "cat", "dog"])
    assert str(error.value) == (
        "no class has 5 images with at least 2,048 of its pixels in the train split, as 4-shot episodes need: cat (4), "
        "dog (3); take fewer shots or add images."
    )


def test_too_few_images_after_dropping_novel_classes_are_an_error():
    with pytest.raises(UserError) as error:
        build(classes=(1,), without=(2, 3), counts=COUNTS[:2])
    assert str(error.value).endswith(": 1 (1); novel classes leave out 1 of its 2 images; add images.")
    counts = np.eye(13, dtype=int)[1:] * 5000
    with pytest.raises(UserError, match=r"10 \(1\) and 2 more; add images\.$"):
        build(range(1, 13), counts=counts.tolist())


def test_a_query_too_small_for_the_support_list_leaves_the_whole_list():
    index = build(shots=2)
    episodes = [sampling.testing_episode(index, 0, i) for i in range(300)]
    pairs = {frozenset(e.supports) for e in episodes if (e.query, e.class_id) == (1, 2)}
    assert pairs == {frozenset(pair) for pair in ((2, 4), (2, 6), (4, 6))}


@pytest.mark.parametrize("distinct", [True, False])
def test_uniform_class_sampling_follows_the_plain_rule(distinct):
    counts, classes, shots, seed = random_counts(), [1, 2, 3, 5, 6], 3, 7
    index = build(classes, shots, counts, distinct_supports=distinct, class_sampling="uniform")
    for i in range(200):
        numbers = raw_numbers(seed, 1, i, 2 + shots)
        class_id = classes[numbers[0] * len(classes) // 2**64]
        listed = [image for image, row in enumerate(counts) if row[class_id] >= MIN]
        query = listed[numbers[1] * len(listed) // 2**64]
        expected = query, class_id, plain_supports(counts, class_id, query, shots, numbers[2:], distinct)
        assert dataclasses.astuple(training_episode(index, seed, i, 4)) == expected


def test_uniform_class_sampling_draws_all_classes_equally_often():
    counts = [[0, 3000, 0]] * 38 + [[0, 0, 3000]] * 2
    for rule, share in (("image", 0.05), ("uniform", 0.5)):
        index = build(counts=counts, class_sampling=rule)
        rare = sum(training_episode(index, 3, i, 4).class_id == 2 for i in range(800))
        assert abs(rare / 800 - share) < 0.03


def test_two_images_of_a_class_suffice_where_supports_may_repeat():
    counts = [[0, 3000], [0, 3000]]
    with pytest.raises(UserError, match="no class has 6 images"):
        build((1,), 5, counts)
    index = build((1,), 5, counts, distinct_supports=False)
    assert {dataclasses.astuple(training_episode(index, 0, i, 2)) for i in range(20)} == {
        (0, 1, (1,) * 5),
        (1, 1, (0,) * 5),
    }
    with pytest.raises(UserError, match="no class has 2 images"):
        build((1,), 5, counts[:1], distinct_supports=False)


def test_novel_classes_are_background_or_their_images_are_dropped():
    table = np.zeros((6, 21), int)
    table[:, 6] = 3000  # base, in fold 0
    table[2, 1] = 1  # one pixel of a novel class
    split = split_of_counts(table)
    dataset = Dataset(PASCAL5I, split, split)
    assert training_index(dataset, 0, 1, MIN).admitted.tolist() == [0, 1, 2, 3, 4, 5]
    index = training_index(dataset, 0, 1, MIN, drop_novel=True)
    assert index.admitted.tolist() == index.support_lists[6].tolist() == [0, 1, 3, 4, 5]
