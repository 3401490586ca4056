"""mIoU, FB-IoU, the bootstrap interval and the best threshold, worked by hand."""

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import metrics
from mmnet_jax.evaluation.metrics import best_threshold, class_ious, interval_of, mean_iou, score


def bootstrap(intersection, union, class_ids, queries=None, **options):
    """mIoU of each draw, one image an episode by default."""
    queries = [f"{i:03d}" for i in range(len(class_ids))] if queries is None else queries
    return mean_iou(class_ious(intersection, union, class_ids, queries, **options)[1])[1:]


def bootstrap_interval(*given, **options):
    return interval_of(bootstrap(*given, **options)[:, 0])


def test_miou_is_the_mean_over_classes_of_summed_intersection_over_summed_union():
    intersection = np.array([[10, 1], [20, 3], [30, 5]])
    union = np.array([[20, 2], [40, 10], [40, 10]])
    scores = score(intersection, union, np.array([6, 6, 9]), ["b", "a", "a"])
    assert scores.class_iou == {6: 400 / 12, 9: 50}
    assert scores.miou == pytest.approx((400 / 12 + 50) / 2) and scores.by_seed == (scores.miou,)
    assert scores.fb_iou == pytest.approx(100 * (60 / 100 + 9 / 22) / 2)


def test_sums_above_32_bits_are_exact_and_episodes_without_foreground_are_refused():
    big = np.full((3, 2), 2**31 - 1, np.int32)
    scores = score(big, big, np.ones(3, np.int32), ["a", "b", "c"])
    assert scores.miou == scores.fb_iou == 100
    with pytest.raises(UserError, match="no episode has foreground"):
        score(np.zeros((1, 2), int), np.zeros((1, 2), int), np.array([1]), ["a"])


def test_intervals_by_hand():
    assert bootstrap_interval(np.full(30, 2), np.full(30, 8), np.arange(30) % 3) == (25, 25)
    # Class 1 has IoU 1 and class 2 has 1/2 in one of two episodes: draws give 1, 3/4 or 1/2, never a class at 0.
    assert bootstrap_interval(np.array([4, 2]), np.array([4, 4]), np.array([1, 2])) == (50, 100)
    # Half the episodes have IoU 0, half 1: the mean of 400 draws has standard deviation 0.5 / 20.
    interval = bootstrap_interval(np.arange(400) % 2, np.ones(400, int), np.zeros(400, int))
    assert interval == pytest.approx((50 - 1.96 * 2.5, 50 + 1.96 * 2.5), abs=0.5)


def test_two_methods_are_scored_on_the_same_draws():
    # In every episode the second method has 10 pixels more of a union of 100: 10 points, whatever is drawn.
    intersection, classes = np.arange(40) % 7, np.arange(40) % 3
    both = np.stack([intersection, intersection + 10], axis=1)
    draws = bootstrap(both, np.full((40, 2), 100), classes, fold=5)
    assert draws.shape == (1000, 2) and draws[:, 0].std() > 0.1
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 10)
    alone = bootstrap(intersection, np.full(40, 100), classes, fold=5)
    np.testing.assert_array_equal(draws[:, :1], alone)


def test_bootstrap_draws_depend_on_the_fold_but_not_on_chunks_or_episode_order(monkeypatch):
    random = np.random.default_rng(3)
    union = random.integers(1, 100, 50)
    data = random.integers(0, union + 1), union, random.integers(0, 5, 50)
    whole = bootstrap_interval(*data, fold=1)
    assert whole == bootstrap_interval(*data, fold=1) != bootstrap_interval(*data, fold=2)
    order = random.permutation(50)
    assert bootstrap_interval(*(array[order] for array in data), [f"{i:03d}" for i in order], fold=1) == whole
    monkeypatch.setattr(metrics, "CHUNK", 150)
    assert bootstrap_interval(*data, fold=1) == whole


def test_a_query_image_is_drawn_with_all_its_episodes():
    counts = np.random.default_rng(0).integers(0, 101, 30)
    classes, queries = np.arange(30) % 3, [f"{i:03d}" for i in range(30)]
    once = bootstrap(counts, np.full(30, 100), classes)
    four = [np.tile(array, 4) for array in (counts, np.full(30, 100), classes)]
    np.testing.assert_allclose(bootstrap(*four, queries * 4), once)  # copies add no information
    assert bootstrap(*four).std() < 0.7 * once.std()


def test_a_score_of_several_seeds_is_the_mean_of_their_own_scores():
    random = np.random.default_rng(5)
    union = random.integers(1, 9000, size=(60, 2))
    data = random.integers(0, union + 1), union, random.integers(1, 6, size=60), [f"{i % 20:02d}" for i in range(60)]
    data[2][:20] = data[2][:20] % 4 + 1  # class 5 has no episode of the first seed
    own = [score(*(part[first : first + 20] for part in data)) for first in (0, 20, 40)]
    scores = score(*data, seeds=3)
    assert scores.by_seed == pytest.approx([each.miou for each in own])
    assert scores.miou == pytest.approx(np.mean(scores.by_seed))
    assert scores.fb_iou == pytest.approx(np.mean([each.fb_iou for each in own]))
    assert 5 not in own[0].class_iou
    assert scores.class_iou[5] == pytest.approx((own[1].class_iou[5] + own[2].class_iou[5]) / 2)
    assert scores.class_iou[1] == pytest.approx(np.mean([each.class_iou[1] for each in own]))


def test_more_seeds_on_the_same_images_do_not_narrow_the_interval():
    union, hits = np.full((90, 2), 100), np.random.default_rng(0).integers(0, 101, (90, 2))
    classes, queries = np.arange(90) % 3, [f"{i:02d}" for i in range(90)]
    one = score(hits, union, classes, queries, fold=2)
    three = [np.concatenate([part] * 3) for part in (hits, union, classes)]
    scores = score(*three, queries * 3, seeds=3, fold=2)
    assert scores.interval95 == pytest.approx(one.interval95) and scores.miou == pytest.approx(one.miou)


def test_the_best_threshold_is_searched_over_all_episodes_together():
    # Thresholds 0, 1/2, 1. Episode of class 1: 4 foreground pixels, 3 of them at 1/2 or more; 6 background, 1 of them.
    above = np.array([[[6, 1, 0], [4, 3, 1]], [[8, 2, 0], [2, 2, 2]]])
    classes = np.array([1, 2])
    # IoU at 0: 4/10, 2/10; at 1/2: 3/5, 2/4; at 1: 1/4, 2/2.
    threshold, intersection, union = best_threshold(above, classes)
    assert threshold == 1.0 and (intersection[:, 1].tolist(), union[:, 1].tolist()) == ([1, 2], [4, 2])
    threshold, intersection, union = best_threshold(above[:1], classes[:1])
    assert threshold == 0.5 and (intersection.tolist(), union.tolist()) == ([[5, 3]], [[7, 5]])


def test_the_best_threshold_of_several_seeds_is_that_of_their_mean():
    # Thresholds 0, 1/2, 1. First seed: 4 foreground pixels, 3 at 1/2 or more, 4 background; second: 1 foreground pixel.
    above = np.array([[[4, 0, 0], [4, 3, 0]], [[0, 0, 0], [1, 0, 0]]])
    assert best_threshold(above, np.ones(2, int))[0] == 0.5  # 5/9 at 0, 3/5 at 1/2
    assert best_threshold(above, np.ones(2, int), seeds=2)[0] == 0  # (4/8 + 1/1) / 2 at 0, (3/4 + 0/1) / 2 at 1/2
