"""mIoU, FB-IoU, the bootstrap interval and the best threshold, worked by hand."""

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import metrics
from mmnet_jax.evaluation.metrics import best_threshold, bootstrap_draws, interval_of, score
from tests.evaluation import reference


def bootstrap_interval(*counts, **options):
    return interval_of(bootstrap_draws(*counts, **options)[:, 0])


def test_miou_sums_before_it_divides_and_means_over_classes():
    intersection = np.array([[10, 1], [20, 3], [30, 5]])
    union = np.array([[20, 2], [40, 10], [40, 10]])
    scores = score(intersection, union, np.array([6, 6, 9]))
    assert scores.class_iou == {6: 400 / 12, 9: 50}
    assert scores.miou == pytest.approx((400 / 12 + 50) / 2)
    assert scores.fb_iou == pytest.approx(100 * (60 / 100 + 9 / 22) / 2)


def test_scores_equal_the_slow_reference():
    random = np.random.default_rng(0)
    classes = random.integers(1, 6, size=40)
    union = random.integers(1, 9000, size=(40, 2))
    intersection = random.integers(0, union + 1)
    counts = [(i.tolist(), u.tolist()) for i, u in zip(intersection, union, strict=True)]
    scores = score(intersection, union, classes)
    assert scores.miou == pytest.approx(reference.miou(counts, classes.tolist()), abs=1e-10)
    assert scores.fb_iou == pytest.approx(reference.fb_iou(counts), abs=1e-10)


def test_sums_past_32_bits_are_exact_and_nothing_to_score_is_refused():
    big = np.full((3, 2), 2**31 - 1, np.int32)
    scores = score(big, big, np.ones(3, np.int32))
    assert scores.miou == scores.fb_iou == 100
    with pytest.raises(UserError, match="no episode has foreground"):
        score(np.zeros((1, 2), int), np.zeros((1, 2), int), np.array([1]))


def test_intervals_by_hand():
    assert bootstrap_interval(np.full(30, 2), np.full(30, 8), np.arange(30) % 3) == (25, 25)
    # Class 1 has IoU 1 and class 2 has 1/2 in one of two episodes: draws give 1, 3/4 or 1/2, never a class at 0.
    assert bootstrap_interval(np.array([4, 2]), np.array([4, 4]), np.array([1, 2])) == (50, 100)
    # Half the episodes have IoU 0, half 1: the mean of 400 draws has standard deviation 0.5 / 20.
    interval = bootstrap_interval(np.arange(400) % 2, np.ones(400, int), np.zeros(400, int), resamples=4000)
    assert interval == pytest.approx((50 - 1.96 * 2.5, 50 + 1.96 * 2.5), abs=0.4)


def test_two_methods_are_scored_on_the_same_draws():
    # In every episode the second method has 10 pixels more of a union of 100: 10 points, whatever is drawn.
    intersection, classes = np.arange(40) % 7, np.arange(40) % 3
    both = np.stack([intersection, intersection + 10], axis=1)
    draws = bootstrap_draws(both, np.full((40, 2), 100), classes, seed=5)
    assert draws.shape == (1000, 2) and draws[:, 0].std() > 0.1
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 10)
    alone = bootstrap_draws(intersection, np.full(40, 100), classes, seed=5)
    np.testing.assert_array_equal(draws[:, :1], alone)


def test_interval_depends_on_the_seed_alone_and_not_on_chunks(monkeypatch):
    random = np.random.default_rng(3)
    union = random.integers(1, 100, 50)
    data = random.integers(0, union + 1), union, random.integers(0, 5, 50)
    whole = bootstrap_interval(*data, seed=1)
    assert whole == bootstrap_interval(*data, seed=1) != bootstrap_interval(*data, seed=2)
    monkeypatch.setattr(metrics, "CHUNK", 150)
    assert bootstrap_interval(*data, seed=1) == whole


def test_copies_of_episodes_that_are_drawn_together_tell_nothing_new():
    counts = np.random.default_rng(0).integers(0, 101, 30)
    classes, units = np.arange(30) % 3, np.arange(30)
    once = bootstrap_draws(counts, np.full(30, 100), classes, units=units)
    four = [np.tile(array, 4) for array in (counts, np.full(30, 100), classes, units)]
    np.testing.assert_allclose(bootstrap_draws(*four[:3], units=four[3]), once)
    np.testing.assert_array_equal(bootstrap_draws(counts, np.full(30, 100), classes), once)
    assert bootstrap_draws(*four[:3]).std() < 0.7 * once.std()


def test_best_threshold_is_found_over_all_episodes_together():
    # Thresholds 0, 1/2, 1. Episode of class 1: 4 foreground pixels, 3 of them at 1/2 or more; 6 background, 1 of them.
    above = np.array([[[6, 1, 0], [4, 3, 1]], [[8, 2, 0], [2, 2, 2]]])
    classes = np.array([1, 2])
    # IoU at 0: 4/10, 2/10; at 1/2: 3/5, 2/4; at 1: 1/4, 2/2.
    threshold, intersection, union = best_threshold(above, classes)
    assert threshold == 1.0
    assert intersection.tolist() == [[6, 1], [8, 2]] and union.tolist() == [[9, 4], [8, 2]]
    threshold, intersection, union = best_threshold(above[:1], classes[:1])
    assert threshold == 0.5
    # of 6 background pixels 5 are right, and one of the foreground's 4 is missed
    assert intersection.tolist() == [[5, 3]] and union.tolist() == [[7, 5]]
