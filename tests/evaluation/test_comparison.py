"""mIoU and paired differences of hand-made episodes."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation import comparison, metrics
from mmnet_jax.evaluation.comparison import NotComparable, resample
from mmnet_jax.evaluation.stored import OWN
from tests.evaluation.stored_results import in_memory
from tests.evaluation.test_coverage import seed_coverage


def row(hits, *given, **summary):
    """A row of results; ``hits`` maps fold and run to each episode's hits."""
    return {key: resample(in_memory(own, *given, fold=key[0], **summary)) for key, own in hits.items()}


def test_miou_is_the_mean_over_folds_of_the_mean_over_runs():
    parts = row({(1, 5): [10, 10, 20, 20], (1, 6): [30, 30, 40, 40], (2, 5): [50, 50, 60, 60]})
    value, (low, high), *_ = comparison.miou(parts)
    assert value == pytest.approx(((15 + 35) / 2 + 55) / 2)
    assert low < value < high  # draws of one class alone
    assert comparison.miou({(1, 5): parts[1, 5]}, "b").value == pytest.approx(20)


def test_intervals_equal_those_of_scipy(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 20_000)
    # Every image has its own IoU, so that the IoU of the one class is the mean over images.
    hits = np.random.default_rng(1).integers(0, 90, (2, 50))
    ours, theirs = (row({(1, 0): own}, "a" * 50) for own in hits)
    options = {"vectorized": True, "method": "percentile", "n_resamples": 20_000, "random_state": 0}
    alone = tuple(stats.bootstrap((hits[0],), np.mean, **options).confidence_interval)
    assert comparison.miou(ours).interval95 == pytest.approx(alone, abs=0.3)
    paired = tuple(stats.bootstrap((hits[0] - hits[1],), np.mean, **options).confidence_interval)
    assert comparison.difference(ours, theirs).interval95 == pytest.approx(paired, abs=0.4)


def test_differences_use_the_same_draws():
    hits = np.random.default_rng(1).integers(0, 90, 60)
    ours, theirs = (row({(fold, 321): hits + more for fold in (1, 2)}, "ab" * 30) for more in (5, 0))
    assert np.ptp(comparison.miou(ours).interval95) > 5
    value, interval, opposite, *_ = comparison.difference(ours, theirs)
    assert value == pytest.approx(5) and interval == pytest.approx((5, 5)) and opposite == 0


def test_the_fraction_of_the_opposite_sign_counts_draws_by_hand():
    # The difference is 10, 10 and -10 of 100 pixels: of 27 draws of 3 images, the 7 with at least two of the last are
    # on the other side.
    ours, theirs = row({(1, 0): [10, 10, 0]}, "aaa"), row({(1, 0): [0, 0, 10]}, "aaa")
    assert comparison.difference(ours, theirs).opposite == pytest.approx(7 / 27, abs=0.05)
    assert comparison.difference(theirs, ours).opposite == comparison.difference(ours, theirs).opposite
    assert comparison.difference(ours, ours).opposite == 1  # no difference in any draw


def test_draws_without_a_class_are_left_out_of_its_interval():
    ours, theirs = row({(1, 0): [20, 60, 60, 60]}, "abbb"), row({(1, 0): [10, 60, 60, 60]}, "abbb")
    value, interval, opposite, *_ = comparison.difference(ours, theirs, "a")  # a third of the draws lack this class
    assert (value, interval, opposite) == (pytest.approx(10), pytest.approx((10, 10)), 0)


def test_equal_runs_of_a_fold_do_not_narrow_the_interval():
    hits = np.random.default_rng(0).integers(0, 101, 60)
    once, twice = (comparison.miou(row(dict.fromkeys(keys, hits), "ab" * 30)) for keys in ([(1, 5)], [(1, 5), (1, 6)]))
    assert once[:3] == twice[:3] and once.seeds95 is None
    assert twice.seeds95 == pytest.approx(once.interval95)


def test_the_interval_over_two_seeds_worked_by_hand():
    # Every query image has the IoU 10 with one seed and 20 with the other. The draws of two seeds have the means 10,
    # 15, 15 and 20; deviations from 15 are scaled by sqrt(2) and by Student's 12.706 over the normal 1.960. An IoU
    # is at least 0; a difference need not be.
    parts = row({(1, 5): [10] * 40, (1, 6): [20] * 40}, "a" * 40)
    value, interval, opposite, seeds, _ = comparison.miou(parts)
    assert (value, opposite, interval) == (pytest.approx(15), 0, pytest.approx((15, 15)))
    away = 5 * np.sqrt(2) * 12.706 / 1.960
    assert seeds == pytest.approx((0, 15 + away), rel=1e-3)
    level = comparison.difference(parts, row({(1, 5): [0] * 40, (1, 6): [0] * 40}, "a" * 40))
    assert level.seeds95 == pytest.approx((15 - away, 15 + away), rel=1e-3)
    lead = comparison.difference(parts, row({(1, 5): [5] * 40, (1, 6): [20] * 40}, "a" * 40))
    assert lead.value == pytest.approx(2.5) and lead.opposite == 0
    assert lead.seeds_opposite == pytest.approx(1 / 4, abs=0.05)  # both draws are of the seed without a difference


def test_seeds_are_drawn_independently_by_fold_and_a_single_training_has_no_seed_interval():
    hits = {(fold, seed): [10 + seed] * 40 for fold in (1, 2) for seed in (0, 10, 20)}
    parts = row(hits, "a" * 40)
    one, both = comparison.miou({key: parts[key] for key in parts if key[0] == 1}), comparison.miou(parts)
    assert np.ptp(both.seeds95) < 0.9 * np.ptp(one.seeds95)  # independent draws: about 1 / sqrt(2)
    del parts[2, 10], parts[2, 20]
    assert comparison.miou(parts).seeds95 is None


def test_one_network_on_two_lists_of_episodes_has_no_seed_interval():
    hits = {(1, 0): [10, 20, 30, 40], (1, 1): [20, 30, 40, 50]}
    assert comparison.miou(row(hits, parameters_sha256="ab")).seeds95 is None
    assert comparison.difference(row(hits), row(hits, parameters_sha256="ab")).seeds95 is not None


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_seed_interval_has_its_nominal_coverage(seeds):
    """Trainings and query images vary alike. The episodes' interval, for which the trainings are fixed, does not."""
    held = seed_coverage(seeds, cases=250)
    assert 0.92 <= held.seeds <= 0.985 and held.episodes < 0.9


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"protocol": "hsnet"}, r"protocol \(pfenet and hsnet\)"),
        ({"scoring": "400 x 400"}, r"scoring \(label size and 400 x 400\)"),
        ({"coco_masks": "all", "shots": 5}, r"coco_masks \(published and all\), shots \(1 and 5\)"),
        ({"hits": [1, 2, 3], "classes": "aab"}, r"the number of episodes \(4 and 3\)"),
        ({"classes": "abab"}, r"2 of 4 episodes \(number 1: q1, a, s1; and q1, b, s1\)"),
        ({"queries": [0, 1, 2, 4]}, r"1 of 4 episodes \(number 3: q3, b, s3; and q4, b, s3\)"),
        ({"area": 51}, r"4 of 4 label areas \(number 0: q0, a, s0, 50; and q0, a, s0, 51\)"),
    ],
)
def test_results_with_other_rules_episodes_or_labels_are_refused(change, differing):
    known = {"hits": [1, 2, 3, 4], "classes": "aabb", "scoring": "label size", "coco_masks": "published"}
    ours, theirs = ({(1, 0): resample(in_memory(**given))} for given in (known, known | change))
    with pytest.raises(NotComparable, match=f"^the results of fold 1 differ in {differing}\\.$"):
        comparison.difference(ours, theirs)


def test_a_rule_missing_from_an_older_result_is_not_compared():
    ours, theirs = row({(1, 0): [2, 2, 2, 2]}, scoring="label size"), row({(1, 0): [1, 1, 1, 1]})
    assert comparison.difference(ours, theirs).value == pytest.approx(1)


def test_a_baseline_without_counts_is_refused():
    result = in_memory([1, 2, 3, 4])
    both = dataclasses.replace(result, counts=result.counts | {"confidence": result.counts[OWN] + [[2, 0]]})
    assert comparison.difference({(1, 0): resample(both, "confidence")}, {(1, 0): resample(both)}).value == 2
    with pytest.raises(UserError, match=r"no counts of the baseline untrained \(it has confidence\)"):
        resample(both, "untrained")
