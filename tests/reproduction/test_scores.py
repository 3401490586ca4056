"""Rows and differences from hand-made episodes."""

from __future__ import annotations

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.metrics import bootstrap_interval
from mmnet_jax.reproduction.scores import (
    OtherEpisodes,
    Score,
    difference,
    miou,
    overall_verdict,
    read_outcome,
    verdict,
)
from mmnet_jax.workdir.folder import Workdir
from tests.reproduction.hand_made import finish, plan_one


def outcome(folder, hits, fold=1, seed=321, **more):
    run = plan_one(folder, fold=fold, seed=seed)
    return read_outcome(Workdir(finish(run, hits, folder / f"f{fold}s{seed}-{hits[0]}", **more)))


def test_a_mean_is_over_the_folds_of_the_means_over_seeds(tmp_path):
    outcomes = {
        (1, 5): outcome(tmp_path, [10, 10, 20, 20], 1, 5),
        (1, 6): outcome(tmp_path, [30, 30, 40, 40], 1, 6),
        (2, 5): outcome(tmp_path, [50, 50, 60, 60], 2, 5),
    }
    value, (low, high) = miou(outcomes)
    assert value == pytest.approx(((15 + 35) / 2 + 55) / 2)
    assert low < value < high  # draws of one class alone


def test_the_interval_of_one_run_is_that_of_its_episodes(tmp_path):
    hits = np.random.default_rng(0).integers(0, 101, 60).tolist()
    found = miou({(1, 321): outcome(tmp_path, hits, classes="ab" * 30)})
    expected = bootstrap_interval(np.array(hits), np.full(60, 100), np.arange(60) % 2)
    np.testing.assert_allclose(found.interval95, expected, atol=1.0)


def test_differences_are_of_the_same_draws(tmp_path):
    hits = np.random.default_rng(1).integers(0, 90, 60)
    ours = {(f, 321): outcome(tmp_path / "a", (hits + 5).tolist(), f, classes="ab" * 30) for f in (1, 2)}
    theirs = {(f, 321): outcome(tmp_path / "b", hits.tolist(), f, classes="ab" * 30) for f in (1, 2)}
    assert np.ptp(miou(ours).interval95) > 5
    score = difference(ours, theirs)
    assert score.value == pytest.approx(5) and score.interval95 == pytest.approx((5, 5))


def test_a_list_gone_through_again_makes_no_interval_narrower(tmp_path):
    random = np.random.default_rng(2)
    one, other = random.integers(0, 101, 60).tolist(), random.integers(0, 101, 60).tolist()
    found = []
    for times in (1, 4):
        again = {"classes": "ab" * 30 * times, "queries": list(range(60)) * times}
        ours, theirs = (
            {(1, 321): outcome(tmp_path / f"{name}{times}", hits * times, **again)}
            for name, hits in (("ours", one), ("theirs", other))
        )
        found.append((miou(ours), difference(ours, theirs)))
    for once, four in zip(*found, strict=True):
        assert four.value == pytest.approx(once.value) and four.interval95 == pytest.approx(once.interval95)


def test_results_of_other_episodes_are_not_compared(tmp_path):
    ours = {(1, 321): outcome(tmp_path, [1, 2, 3, 4])}
    theirs = {(1, 321): outcome(tmp_path, [5, 6, 7, 8], classes="abab")}
    with pytest.raises(OtherEpisodes, match="of fold 1, seed 321 are not of the same episodes"):
        difference(ours, theirs)


def test_a_cut_table_of_episodes_is_refused(tmp_path):
    workdir = finish(plan_one(tmp_path), [1, 2, 3, 4])
    table = workdir / "results" / "result.episodes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match="has 3 episodes"):
        read_outcome(Workdir(workdir))


@pytest.mark.parametrize(
    ("interval", "expected"), [((0.1, 2), "holds"), ((-2, -0.1), "does not hold"), ((-0.1, 2), "undecided")]
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(interval, expected):
    assert verdict(Score(1.0, interval)) == expected


def test_folds_that_contradict_one_another_are_told():
    above, below, across = Score(2, (1, 3)), Score(-2, (-3, -1)), Score(0.5, (-1, 2))
    assert overall_verdict(across, [above, below]) == overall_verdict(above, [above, below]) == "differs by fold"
    assert overall_verdict(above, [above, across]) == "holds"
    assert overall_verdict(across, [below, below]) == "undecided"
