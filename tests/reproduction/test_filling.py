"""The written table: our numbers beside the paper's, and claims."""

from __future__ import annotations

import json

import pytest

from mmnet_jax.reproduction.filling import filled, markdown
from mmnet_jax.reproduction.scores import read_outcome
from mmnet_jax.reproduction.tables import TABLES
from mmnet_jax.workdir import Workdir
from tests.reproduction.hand_made import finish, plan_one


def test_a_table_sets_ours_beside_the_papers(tmp_path):
    table = TABLES["7"]
    hits = {0: [60, 60, 60, 60], 1: [71, 71, 71, 71], 2: [57, 57, 57, 57], 3: [62, 62, 62, 62]}
    outcomes = {"pascal_5shot": {}, "ablations:without_qmm": {}}
    for fold, own in hits.items():
        for reference in outcomes:
            if (reference, fold) == ("ablations:without_qmm", 3):
                continue  # still to be run
            less = 0 if reference == "pascal_5shot" else 2
            workdir = finish(plan_one(tmp_path, reference, fold), [h - less for h in own])
            outcomes[reference][fold, 321] = read_outcome(Workdir(workdir))
    content = filled(table, table.rows, (0, 1, 2, 3), (321,), outcomes)
    json.dumps(content, allow_nan=False)
    without, with_qmm = content["rows"]
    fold0 = with_qmm["cells"]["fold0"]
    assert (fold0["paper"], fold0["miou"], fold0["difference"]) == pytest.approx((62.2, 60, -2.2))
    assert fold0["interval95"] == pytest.approx([60, 60])
    assert with_qmm["cells"]["mean"]["miou"] == pytest.approx(62.5) and with_qmm["cells"]["mean"]["paper"] == 63.4
    assert without["cells"]["mean"] == {"paper": 62.6} and without["cells"]["fold2"]["miou"] == pytest.approx(55)
    (claim,) = content["claims"]
    fold1 = claim["cells"]["fold1"]
    assert (fold1["difference"], *fold1["interval95"]) == pytest.approx((2, 2, 2)) and fold1["verdict"] == "holds"
    assert claim["verdict"] == "not run" and content["commits"] == ["c0ffee"]

    text = markdown(content)
    assert "| with QMM (`with_qmm`) | 60.0 [60.0, 60.0]<br>62.2 (-2.2) |" in text
    assert "| without QMM (`without_qmm`) | 58.0 [58.0, 58.0]<br>60.7 (-2.7) |" in text and "not run<br>62.6 |" in text
    assert "| with_qmm better than without_qmm | +2.0 [+2.0, +2.0] |" in text
    assert "Protocol pfenet, 4 episodes a fold, seed 321; measured 2026-01-02 on 1 x cpu, commit c0ffee." in text
    assert "several versions" not in text and str(tmp_path) not in text + json.dumps(content)


def test_a_table_without_the_papers_numbers_has_claims_over_its_folds(tmp_path):
    table = TABLES["photographs"]
    rows = [row for row in table.rows if row.name in ("paper", "global", "pfenet")]
    hits = {"paper": [50, 50, 50, 50], "global": [51, 51, 51, 51], "pfenet": [10, 90, 10, 90]}
    outcomes = {}
    for row in rows:
        for fold in (1, 2):
            workdir = finish(plan_one(tmp_path, row.config, fold), hits[row.name])
            outcomes.setdefault(row.config, {})[fold, 321] = read_outcome(Workdir(workdir))
    content = filled(table, rows, (1, 2), (321,), outcomes)
    assert {claim["worse"]: claim["verdict"] for claim in content["claims"]} == {
        "global": "does not hold",
        "pfenet": "undecided",
    }
    text = markdown(content)
    assert "paper's number" not in text and "| paper better than global | -1.0 [-1.0, -1.0] |" in text
