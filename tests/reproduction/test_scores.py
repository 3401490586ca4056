"""mIoU and paired differences of hand-made episodes."""

from pathlib import Path

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import score
from mmnet_jax.reproduction import scores
from mmnet_jax.reproduction.scores import OtherEpisodes, Outcome, Score, difference, read_outcome
from mmnet_jax.workdir.folder import Workdir
from tests.reproduction.hand_made import finish, plan_one


def outcomes(hits, classes="aabb", queries=None):
    """By fold and seed: episode i of a class, and of query i by default, hits ``hits[i]`` of a union of 100 pixels."""
    numbers = range(len(classes))
    asked = tuple((str(q), c, str(i)) for q, c, i in zip(queries or numbers, classes, numbers, strict=True))
    counts = {key: np.stack([own, np.full(len(own), 100)], axis=1) for key, own in hits.items()}
    draws = {key: scores.miou_of_draws(asked, own, key[0]) for key, own in counts.items()}
    return {key: Outcome(Path(), {}, asked, own, None, ()) for key, own in draws.items()}


def miou(hits, *asked):
    return scores.miou(outcomes(hits, *asked))


def test_a_mean_is_over_the_folds_of_the_means_over_seeds():
    value, (low, high) = miou({(1, 5): [10, 10, 20, 20], (1, 6): [30, 30, 40, 40], (2, 5): [50, 50, 60, 60]})
    assert value == pytest.approx(((15 + 35) / 2 + 55) / 2)
    assert low < value < high  # draws of one class alone


def test_the_interval_of_one_run_is_that_of_its_result():
    hits = np.random.default_rng(0).integers(0, 101, (60, 2))
    found = miou({(1, 321): hits[:, 1]}, "ab" * 30)
    result = score(hits, np.full((60, 2), 100), np.arange(60) % 2, [str(i) for i in range(60)], fold=1)
    assert found.interval95 == pytest.approx(result.interval95)


def test_seeds_of_one_fold_that_agree_make_no_interval_narrower():
    hits = np.random.default_rng(0).integers(0, 101, 60)
    assert miou({(1, 5): hits, (1, 6): hits}, "ab" * 30) == miou({(1, 5): hits}, "ab" * 30)


def test_differences_are_of_the_same_draws():
    hits = np.random.default_rng(1).integers(0, 90, 60)
    ours, theirs = (outcomes({(fold, 321): hits + more for fold in (1, 2)}, "ab" * 30) for more in (5, 0))
    assert np.ptp(scores.miou(ours).interval95) > 5
    score = difference(ours, theirs)
    assert score.value == pytest.approx(5) and score.interval95 == pytest.approx((5, 5))


def test_using_each_image_again_makes_no_interval_narrower():
    one, other = np.random.default_rng(2).integers(0, 101, (2, 60)).tolist()
    found = []
    for times in (1, 4):
        again = ("ab" * 30 * times, list(range(60)) * times)
        ours, theirs = (outcomes({(1, 321): hits * times}, *again) for hits in (one, other))
        found.append((scores.miou(ours), difference(ours, theirs)))
    for once, four in zip(*found, strict=True):
        assert four.value == pytest.approx(once.value) and four.interval95 == pytest.approx(once.interval95)


def test_results_of_other_episodes_are_not_compared():
    with pytest.raises(OtherEpisodes, match="of fold 1, seed 321 are not of the same episodes"):
        difference(outcomes({(1, 321): [1, 2, 3, 4]}), outcomes({(1, 321): [5, 6, 7, 8]}, "abab"))


def test_a_cut_table_of_episodes_is_refused(tmp_path):
    workdir = finish(plan_one(tmp_path), [1, 2, 3, 4])
    table = workdir / "results" / "result.episodes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match="has 3 episodes"):
        read_outcome(Workdir(workdir))


def test_a_verdict_needs_an_interval_on_one_side_of_zero_and_folds_that_do_not_contradict():
    intervals = {(0.1, 2): "holds", (-2, -0.1): "does not hold", (-0.1, 2): "undecided"}
    assert {interval: Score(1.0, interval).verdict for interval in intervals} == intervals
    above, below, across = intervals.values()
    overall = scores.overall_verdict
    assert overall(across, [above, below]) == overall(above, [above, below]) == "differs by fold"
    assert overall(above, [above, across]) == above and overall(across, [below, below]) == across
