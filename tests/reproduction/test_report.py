"""The written table: measured numbers beside the paper's, claims and verdicts."""

import itertools
import json

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.comparison import Estimate, miou
from mmnet_jax.reproduction.report import overall_verdict, read_outcome, table_json, table_markdown, verdict
from mmnet_jax.reproduction.runs import select
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import CODE
from tests.reproduction.hand_made import OTHER_CODE, finish, plan_one, settings


def fill(folder, table, hits, folds=(1, 2), seeds=(321,), changes=(), **more):
    """A table whose runs have these hits: by row, or by row, fold and seed if the row's value is a dict."""
    part, given = select(table, list(hits), [*map(str, folds)]), settings(folder, *changes, seeds=seeds)
    finished = []
    for row, fold, seed in itertools.product(part.rows, folds, seeds):
        own = hits[row.name].get((fold, seed)) if isinstance(hits[row.name], dict) else hits[row.name]
        if own is not None:
            run = plan_one(folder, row.config, fold, seed, changes)
            finished.append((run, read_outcome(Workdir(finish(run, own, **more.get(row.name, {}))))))
    return table_json(part, given, finished, {})


def test_a_table_has_measured_numbers_beside_the_papers(tmp_path):
    hits = {(0, 321): [60] * 4, (1, 321): [71] * 4, (2, 321): [57] * 4, (3, 321): [62] * 4}
    less = {key: [hit - 2 for hit in own] for key, own in hits.items() if key != (3, 321)}  # still to be run
    content = fill(tmp_path, "7", {"without_qmm": less, "with_qmm": hits}, folds=(0, 1, 2, 3))
    json.dumps(content, allow_nan=False)
    without, with_qmm = (row["cells"] for row in content["rows"])
    fold0 = with_qmm["fold0"]
    assert (fold0["paper"], fold0["miou"], fold0["difference"]) == pytest.approx((62.2, 60, -2.2))
    assert fold0["interval95"] == pytest.approx([60, 60])
    assert with_qmm["mean"]["miou"] == pytest.approx(62.5) and with_qmm["mean"]["paper"] == 63.4
    assert without["mean"] == {"paper": 62.6} and without["fold2"]["miou"] == pytest.approx(55)
    (claim,) = content["claims"]
    fold1 = claim["cells"]["fold1"]
    assert (fold1["difference"], *fold1["interval95"]) == pytest.approx((2, 2, 2)) and fold1["verdict"] == "holds"
    assert claim["verdict"] == "not run"

    text = table_markdown(content)
    assert "| with QMM (`with_qmm`) | 60.0 [60.0, 60.0]<br>62.2 (-2.2) |" in text
    assert "| without QMM (`without_qmm`) | 58.0 [58.0, 58.0]<br>60.7 (-2.7) |" in text and "not run<br>62.6 |" in text
    assert "| with_qmm better than without_qmm | +2.0 [+2.0, +2.0] (0.000) |" in text
    assert "Protocol pfenet, 4 episodes a fold, seed 321; measured 2026-01-02 on 1 x cpu, NUMERICS" in text
    assert str(tmp_path) not in text + json.dumps(content)


def test_a_table_without_the_papers_numbers_has_claims_over_its_folds(tmp_path):
    content = fill(tmp_path, "photographs", {"paper": [50] * 4, "global": [51] * 4, "pfenet": [10, 90, 10, 90]})
    verdicts = {claim["worse"]: claim["verdict"] for claim in content["claims"]}
    assert verdicts == {"global": "does not hold", "pfenet": "undecided"}
    text = table_markdown(content)
    assert "paper's number" not in text and "| paper better than global | -1.0 [-1.0, -1.0] (0.000) |" in text


def test_the_table_names_weights_data_changes_and_code(tmp_path):
    hashes = {"weights_sha256": "ab" * 32, "data_sha256": {"train": "cd" * 32, "val": "ef" * 32}}
    changes, old = ["data.image_size=97"], {"code": OTHER_CODE}
    hits = {"paper": [1] * 4, "qmm_5": [2] * 4}
    content = fill(tmp_path, "photographs", hits, changes=changes, paper=hashes, qmm_5=old)
    text = table_markdown(content)
    assert "Changed in all runs: training.steps=8, " in text and "data.image_size=97." in text
    assert "Backbone weights: SHA-256 abababababab." in text
    assert "pascal5i (folder; SHA-256 cdcdcdcdcdcd and efefefefefef)" in text
    run = content["rows"][0]["runs"][1]
    assert run["workdir"] == "photographs/paper/fold2/seed321" and run["numerics"] == CODE.numerics
    assert content["numerics"] == [OTHER_CODE.numerics, CODE.numerics] and OTHER_CODE.commit in content["commits"]
    assert f"NUMERICS {OTHER_CODE.numerics}, {CODE.numerics}, commit {'0' * 12}" in text
    assert "intervals bootstrap over query images" in text and "variance between trainings" in text


def test_the_table_names_the_folds_where_a_dataset_offers_several(tmp_path):
    for changes, named in ((), "pascal5i (folder)"), (("data.dataset=coco20i",), "coco20i (all, interleaved folds)"):
        hits = {"paper": [60] * 4}
        assert f" Data: {named}" in table_markdown(fill(tmp_path / named[:4], "photographs", hits, changes=changes))


def test_the_table_shows_contradicting_folds_and_the_range_over_seeds(tmp_path):
    ours = {(1, 321): [50] * 4, (1, 5): [52] * 4, (2, 321): [50] * 4, (2, 5): [51] * 4}
    theirs = {(1, 321): [40] * 4, (1, 5): [40] * 4, (2, 321): [53] * 4, (2, 5): [54] * 4}
    content = fill(tmp_path, "photographs", {"paper": ours, "global": theirs}, seeds=(321, 5))
    (claim,) = content["claims"]
    assert claim["cells"]["mean"]["difference"] == pytest.approx(4) and claim["verdict"] == "differs by fold"
    assert claim["by_seed"]["seed5"]["difference"] == pytest.approx(4.5)
    assert "| +3.5 to +4.5 | differs by fold |" in (text := table_markdown(content))
    assert content["rows"][0]["cells"]["fold1"]["seeds95"][0] < 50
    assert "Intervals after the word seeds do: a hierarchical" in text and "use the intervals over seeds" in text
    assert "+4.0 [+4.0, +4.0] (0.000), seeds [" in text


def test_a_claim_is_undecided_if_seeds_vary_more_than_the_difference(tmp_path):
    ours = {(1, seed): [40 + gain] * 4 for seed, gain in ((321, 1), (322, 9), (323, 2))}
    theirs = {(1, seed): [40] * 4 for seed in (321, 322, 323)}
    content = fill(tmp_path, "photographs", {"paper": ours, "global": theirs}, folds=(1,), seeds=(321, 322, 323))
    ((claim,),) = (content["claims"],)
    cell = claim["cells"]["mean"]
    assert cell["interval95"] == pytest.approx([4, 4]) and cell["opposite"] == 0
    assert cell["seeds95"][0] < 0 < cell["seeds_opposite"] < 0.5 and claim["verdict"] == "undecided"


def test_results_on_other_episodes_are_not_comparable(tmp_path):
    hits = {"paper": [4] * 4, "global": [3] * 4, "pfenet": [2] * 4}
    content = fill(tmp_path, "photographs", hits, **{"global": {"classes": "abab"}})
    pair, other = content["claims"]
    reason = "the results of fold 2 differ in 2 of 4 episodes (number 1: q1, a, s1; and q1, b, s1)."
    assert pair["cells"]["fold2"] == {"verdict": "not comparable", "reason": reason}
    assert pair["verdict"] == "not comparable" and other["verdict"] == "holds"
    assert "| paper better than global | not comparable | not comparable |" in table_markdown(content)


def test_the_result_of_a_run_is_read_with_its_config_and_code(tmp_path):
    outcome = read_outcome(Workdir(finish(plan_one(tmp_path), [1, 2, 3, 4])))
    assert miou({(1, 321): outcome.numbers}).value == outcome.summary["miou"] == 2.5
    assert outcome.config.fold == 1 and len(outcome.codes) == 2


def test_a_truncated_table_of_episodes_is_refused(tmp_path):
    workdir = finish(plan_one(tmp_path), [1, 2, 3, 4])
    table = workdir / "results" / "result.episodes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match="has 3 episodes"):
        read_outcome(Workdir(workdir))


def test_verdicts_follow_the_interval_and_contradicting_folds():
    intervals = {(0.1, 2): "holds", (-2, -0.1): "does not hold", (-0.1, 2): "undecided"}
    assert {interval: verdict(Estimate(1.0, interval, 0.1)) for interval in intervals} == intervals
    above, below, across = intervals.values()
    assert overall_verdict(across, [above, below]) == overall_verdict(above, [above, below]) == "differs by fold"
    assert overall_verdict(above, [above, across]) == above and overall_verdict(across, [below, below]) == across
