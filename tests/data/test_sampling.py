"""Admission and episodes of all of PASCAL-5i, from the packaged pixel counts, against PFENet's rules.

Every frequency is a sum of independent draws with known expectation and variance; deviations are in standard
deviations.
"""

import itertools

import numpy as np
import pytest

from mmnet_jax.data import episodes as sampling  # its testing_episode looks like a test to pytest
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.datasets.lists import packaged_names, pascal_counts
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.episodes import EpisodeIndex, training_episode, training_index

MIN, EPISODES, BATCH, SEED = 2 * 32 * 32, 5_000, 4, 321
MOST = 5
"""Largest deviation; a normal variable exceeds it once in two million draws."""


@pytest.fixture(scope="module")
def dataset():
    """The protocol's 5,953 and 1,449 images, by their pixel counts alone."""
    counts = pascal_counts()
    ids = {"train": packaged_names("pascal5i_train"), "val": packaged_names("voc2012_val")}
    splits = (Split(name, own, np.stack([counts[i] for i in own]), [], 1) for name, own in ids.items())
    return Dataset(PASCAL5I, *splits)


def index_of(dataset, split, fold, shots=1):
    if split == "train":
        return training_index(dataset, fold, shots, MIN)
    return EpisodeIndex.build(dataset.test, dataset.classes(fold, "novel"), MIN, shots)


def test_the_protocols_images_are_admitted_as_in_the_published_code(dataset):
    folds = range(4)
    assert [len(index_of(dataset, "val", fold).admitted) for fold in folds] == [364, 445, 592, 336]
    assert [len(index_of(dataset, "train", fold).admitted) for fold in folds] == [4760, 4588, 4097, 5108]
    kept = [len(training_index(dataset, fold, 1, MIN, drop_novel=True).admitted) for fold in folds]
    assert kept == [4208, 3726, 2752, 4510]
    assert all(len(index_of(dataset, "train", fold, 5).support_lists) == 15 for fold in folds)
    assert all(len(index_of(dataset, "val", fold, 5).support_lists) == 5 for fold in folds)


def plain_lists(counts, classes):
    """The queries, in the list's order, and each class's supports."""
    queries, supports = [], {c: [] for c in classes}
    for image, pixels in enumerate(counts):
        large = [c for c in classes if pixels[c] >= 2 * 32 * 32]
        queries += [image] if large else []
        for c in large:
            supports[c].append(image)
    return queries, supports


def class_deviations(episodes, counts, classes):
    """Deviation of each class's number of episodes from its expectation.

    An episode whose query shows n of the classes has each of them with p = 1/n: expectation sum p, variance
    sum p (1 - p). A class that shares no query has no variance and must match exactly.
    """
    shown = counts[[e.query for e in episodes]][:, classes] > 0
    p = shown / shown.sum(axis=1, keepdims=True)
    off = np.array([sum(e.class_id == c for e in episodes) for c in classes]) - p.sum(axis=0)
    return np.divide(off, np.sqrt((p * (1 - p)).sum(axis=0)), out=np.zeros(len(classes)), where=off != 0)


def support_deviation(episodes, supports, shots):
    """Deviation of the supports from uniform draws of their classes' lists.

    An episode of a class with n supports besides the query draws each with p = shots / n. An image's frequency over
    the episodes has the variance v = sum p (1 - p), so that its squared deviation / v is 1 on average, and the sum over
    all N images of all lists is N on average with a variance of about 2 N (chi-square).
    """
    total, images = 0.0, 0
    for class_id, listed in supports.items():
        own = [e for e in episodes if e.class_id == class_id]
        place = {image: i for i, image in enumerate(listed)}
        drawn, expected, variance = np.zeros((3, len(listed)))
        for e in own:
            p = shots / (len(listed) - (e.query in place))
            drawn[[place[s] for s in e.supports]] += 1
            expected += p
            variance += p * (1 - p)
            if e.query in place:
                expected[place[e.query]] -= p
                variance[place[e.query]] -= p * (1 - p)
        total += ((drawn - expected) ** 2 / variance).sum()
        images += len(listed)
    return (total - images) / np.sqrt(2 * images)


QUICK = [(1, "val", 5), (2, "train", 1)]
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in itertools.product(range(4), ("train", "val"), (1, 5))
]


@pytest.mark.parametrize(("fold", "split", "shots"), CASES)
def test_episodes_have_the_frequencies_of_pfenets_rules(dataset, fold, split, shots):
    part = dataset.train if split == "train" else dataset.test
    counts, classes = part.counts, list(dataset.classes(fold, "base" if split == "train" else "novel"))
    index, (queries, supports) = index_of(dataset, split, fold, shots), plain_lists(counts.tolist(), classes)
    if split == "train":
        episodes = [training_episode(index, SEED, i, BATCH) for i in range(EPISODES)]
        per_epoch = len(queries) // BATCH * BATCH
        for epoch in range(EPISODES // per_epoch):
            drawn = {e.query for e in episodes[epoch * per_epoch : (epoch + 1) * per_epoch]}
            assert len(drawn) == per_epoch and drawn <= set(queries)
    else:
        episodes = [sampling.testing_episode(index, SEED, i) for i in range(EPISODES)]
        assert [e.query for e in episodes] == [queries[i % len(queries)] for i in range(EPISODES)]
    assert all(len({e.query, *e.supports}) == 1 + shots for e in episodes)
    assert all(counts[e.query, e.class_id] > 0 for e in episodes)
    assert all(counts[s, e.class_id] >= MIN for e in episodes for s in e.supports)
    assert np.abs(class_deviations(episodes, counts, classes)).max() < MOST
    assert abs(support_deviation(episodes, supports, shots)) < MOST
