"""The rows of the tables: the paper's numbers, and recipes that match their rows."""

import json

import pytest

from mmnet_jax.config import load_recipe, recipe_rows, resolve
from mmnet_jax.reproduction.tables import TABLES

ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]
PRINTED = [(name, row) for name, row in ROWS if row.paper]


@pytest.fixture(scope="module")
def configs():
    return {row.config: resolve(load_recipe(row.config)) for _, row in ROWS}


def test_the_numbers_are_the_papers(real_data):
    file = real_data.parent / "paper" / "tables.json"
    if not file.is_file():
        pytest.skip(f"the paper's tables are not at {file}")
    tables = [(key[5], rows) for key, rows in json.loads(file.read_text()).items() if key.startswith("table")]
    ours = [(name, row) for name, rows in tables for row in rows if row.get("ours") or row["method"] == "PFENet"]
    theirs = [(name, row[shots]) for name, row in ours for shots in ("1shot", "5shot") if shots in row]
    assert [(name, row.paper) for name, row in PRINTED] == theirs


def test_a_row_prints_its_recipe_and_the_papers_numbers():
    row = TABLES["4"].rows[-1]
    assert str(row) == "fcm_mmm: FCM + MMM (configs/pascal_1shot.py), paper: 62.7 70.2 57.3 57.0, mean 61.8"


def test_printed_means_are_those_of_the_printed_folds():
    assert len(PRINTED) == 14 + 3 + 3 + 4 + 4 + 2 + 2 + 2
    for _, row in PRINTED:
        *folds, mean = row.paper.values()
        if row.name != "global":  # the paper's own mean is wrong
            assert abs(sum(folds) / 4 - mean) < 0.0751, row  # each is rounded to 0.1


def test_ablation_rows_use_the_recipe_of_their_name(configs):
    for name, row in ROWS:
        if name in "34567AB":
            assert configs[row.config] == resolve(load_recipe(f"ablations:{row.name}")), row.name
    assert {row.name for name, row in ROWS if name in "34567AB"} == recipe_rows("ablations").keys() - {"mmm_2"}
    assert [row.name for row in TABLES["photographs"].rows] == list(recipe_rows("photographs"))


def test_recipes_differ_and_have_the_shots_and_network_of_their_labels(configs):
    papers = [config.to_json_best_effort() for recipe, config in configs.items() if "photographs" not in recipe]
    assert len(papers) == len(set(papers))
    for name, row in ROWS:
        config = configs[row.config]
        five = "5 shots" in row.label or "5 shots" in TABLES[name].title or row.name.endswith(("_5", "_5_last"))
        assert config.shots == (5 if five else 1), row
        assert (config.model.network == "pfenet") == ("PFENet" in row.label), row
        if name in "12":
            backbone = row.label.split(", ")[1].lower().replace("-", "").replace("v2", "_v2")
            assert config.model.backbone == backbone
            assert config.data.dataset == {"1": "pascal5i", "2": "coco20i"}[name]


def test_claims_are_of_rows_with_the_same_episodes(configs):
    for table in TABLES.values():
        shots = {row.name: configs[row.config].shots for row in table.rows}
        assert table.claims and all(shots[better] == shots[worse] for better, worse in table.claims)
