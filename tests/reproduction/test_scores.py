"""Results of finished runs, and verdicts."""

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.comparison import Estimate, miou
from mmnet_jax.reproduction.scores import overall_verdict, read_outcome, verdict
from mmnet_jax.workdir.folder import Workdir
from tests.reproduction.hand_made import finish, plan_one


def test_the_result_of_a_run_is_read_with_its_config_and_code(tmp_path):
    outcome = read_outcome(Workdir(finish(plan_one(tmp_path), [1, 2, 3, 4])))
    assert miou({(1, 321): outcome.numbers}).value == outcome.summary["miou"] == 2.5
    assert outcome.config.fold == 1 and len(outcome.codes) == 2


def test_a_cut_table_of_episodes_is_refused(tmp_path):
    workdir = finish(plan_one(tmp_path), [1, 2, 3, 4])
    table = workdir / "results" / "result.episodes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match="has 3 episodes"):
        read_outcome(Workdir(workdir))


def test_a_verdict_needs_an_interval_on_one_side_of_zero_and_folds_that_do_not_contradict():
    intervals = {(0.1, 2): "holds", (-2, -0.1): "does not hold", (-0.1, 2): "undecided"}
    assert {interval: verdict(Estimate(1.0, interval, 0.1)) for interval in intervals} == intervals
    above, below, across = intervals.values()
    assert overall_verdict(across, [above, below]) == overall_verdict(above, [above, below]) == "differs by fold"
    assert overall_verdict(above, [above, across]) == above and overall_verdict(across, [below, below]) == across
