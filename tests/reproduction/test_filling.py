"""The written table: our numbers beside the paper's, and claims."""

from __future__ import annotations

import json

import pytest

from mmnet_jax.evaluation.report import commit
from mmnet_jax.reproduction.filling import filled, markdown
from mmnet_jax.reproduction.runs import Settings
from mmnet_jax.reproduction.scores import read_outcome
from mmnet_jax.reproduction.tables import TABLES
from mmnet_jax.workdir.folder import Workdir
from tests.reproduction.hand_made import finish, plan_one, settings


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
    content = filled(table, table.rows, (0, 1, 2, 3), (321,), outcomes, settings(tmp_path))
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
    assert (
        "Protocol pfenet, 4 episodes a fold, seed 321; measured 2026-01-02 on 1 x cpu, commit c0ffee. The table is"
        in text
    )
    assert "other code" not in text and str(tmp_path) not in text + json.dumps(content)


def test_a_table_without_the_papers_numbers_has_claims_over_its_folds(tmp_path):
    table = TABLES["photographs"]
    rows = [row for row in table.rows if row.name in ("paper", "global", "pfenet")]
    hits = {"paper": [50, 50, 50, 50], "global": [51, 51, 51, 51], "pfenet": [10, 90, 10, 90]}
    outcomes = {}
    for row in rows:
        for fold in (1, 2):
            workdir = finish(plan_one(tmp_path, row.config, fold), hits[row.name])
            outcomes.setdefault(row.config, {})[fold, 321] = read_outcome(Workdir(workdir))
    content = filled(table, rows, (1, 2), (321,), outcomes, settings(tmp_path))
    assert {claim["worse"]: claim["verdict"] for claim in content["claims"]} == {
        "global": "does not hold",
        "pfenet": "undecided",
    }
    text = markdown(content)
    assert "paper's number" not in text and "| paper better than global | -1.0 [-1.0, -1.0] |" in text


def fill(folder, hits, folds=(1, 2), seeds=(321,), changes=(), **more):
    """The table of photographs with rows whose every fold and seed hit so many pixels."""
    table = TABLES["photographs"]
    rows = [row for row in table.rows if row.name in hits]
    outcomes = {row.config: {} for row in rows}
    for row in rows:
        for fold in folds:
            for seed in seeds:
                own = hits[row.name][fold, seed] if isinstance(hits[row.name], dict) else hits[row.name]
                run = plan_one(folder, row.config, fold, seed, changes)
                outcomes[row.config][fold, seed] = read_outcome(Workdir(finish(run, own, **more.get(row.name, {}))))
    return filled(table, rows, folds, seeds, outcomes, settings(folder, *changes))


def test_the_table_tells_how_its_runs_were_made(tmp_path):
    hashes = {"weights_sha256": "ab" * 32, "data_sha256": {"train": "cd" * 32, "val": "ef" * 32}}
    content = fill(tmp_path, {"paper": [1] * 4, "qmm_5": [2] * 4}, changes=["data.image_size=97"], paper=hashes)
    recipe = "efficientnet_lite2, 97 px, 128 channels, 8 steps, batch 4, no augmentation"
    assert content["recipe"] == recipe and content["rows"][0]["recipe"]["image_size"] == 97
    assert f"Small runs ({recipe}) on a folder of photographs" in content["note"]
    text = markdown(content)
    assert f"Runs: {recipe}; changed in all of them: training.steps=8, " in text and "data.image_size=97." in text
    assert "Backbone's weights: SHA-256 abababababab." in text
    assert "pascal5i (folder; SHA-256 cdcdcdcdcdcd and efefefefefef)" in text
    assert content["rows"][0]["runs"][1]["workdir"] == "photographs/paper/fold2/seed321"
    assert "query images drawn again" in text and "the variance of training itself is not in them" in text


def test_rows_made_otherwise_are_named(tmp_path):
    table = TABLES["photographs"]
    content = filled(table, table.rows, (1,), (321,), {}, Settings(tmp_path))
    assert content["recipe"] == (
        "efficientnet_lite2, 161 px, 128 channels, 800 steps, batch 4, no augmentation, "
        "cached frozen features (released: frozen features computed anew)"
    )


@pytest.mark.parametrize(("code", "told"), [("0" * 16, True), (None, False)])
def test_runs_of_other_code_are_told(tmp_path, code, told):
    content = fill(tmp_path, {"paper": [1] * 4}, paper={"code": code, "commit": commit()})
    assert content["runs_of_other_code"] == 2 * told
    text = markdown(content)
    here = content["codes_here"][0]
    assert ("2 of 2 runs are of other code than the one that writes this table, which is commit" in text) == told
    assert (f"fingerprints {'0' * 16} there, {here} here." in text) == told
    assert "computes the same" not in text


def test_contradicting_folds_and_the_range_of_seeds_are_told(tmp_path):
    ours = {(1, 321): [50] * 4, (1, 5): [52] * 4, (2, 321): [50] * 4, (2, 5): [51] * 4}
    theirs = {(1, 321): [40] * 4, (1, 5): [40] * 4, (2, 321): [53] * 4, (2, 5): [54] * 4}
    content = fill(tmp_path, {"paper": ours, "global": theirs}, seeds=(321, 5))
    (claim,) = content["claims"]
    assert claim["cells"]["mean"]["difference"] == pytest.approx(4) and claim["verdict"] == "differs by fold"
    assert claim["by_seed"]["seed5"]["difference"] == pytest.approx(4.5)
    assert "| +3.5 to +4.5 | differs by fold |" in markdown(content)


def test_a_pair_of_other_episodes_loses_its_cells_alone(tmp_path):
    content = fill(
        tmp_path, {"paper": [4] * 4, "global": [3] * 4, "pfenet": [2] * 4}, **{"global": {"classes": "abab"}}
    )
    pair, other = content["claims"]
    assert pair["cells"]["fold2"] == {
        "verdict": "not comparable",
        "reason": "the two results of fold 2, seed 321 are not of the same episodes",
    }
    assert pair["verdict"] == "not comparable" and other["verdict"] == "holds"
    assert "| paper better than global | not comparable | not comparable |" in markdown(content)
