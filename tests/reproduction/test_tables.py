"""The rows of the tables: numbers copied without slips, and configurations that are what the rows say."""

from __future__ import annotations

import pytest

from mmnet_jax.config import load_recipe, recipe_rows, resolve
from mmnet_jax.reproduction.tables import TABLES

ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]


def test_printed_means_are_those_of_the_printed_folds():
    printed = [row for _, row in ROWS if row.paper]
    assert len(printed) == 14 + 3 + 3 + 4 + 4 + 2 + 2 + 2
    for row in printed:
        assert len(row.paper.folds) == 4
        if row.name != "global":  # whose mean the paper itself has wrong
            assert abs(sum(row.paper.folds) / 4 - row.paper.mean) < 0.0751, row  # each is rounded to 0.1


@pytest.mark.parametrize(
    "name", [name for name in TABLES if TABLES[name].rows[0].config.startswith(("abl", "pascal_"))]
)
def test_a_row_of_an_ablation_is_the_configuration_of_its_name(name):
    for row in TABLES[name].rows:
        assert resolve(load_recipe(row.config)) == resolve(load_recipe(f"ablations:{row.name}")), row.name


def test_every_ablation_but_the_one_the_paper_leaves_out_has_its_row():
    assert {row.name for name, row in ROWS if name in "34567AB"} == recipe_rows("ablations").keys() - {"mmm_2"}
    assert [row.name for row in TABLES["photographs"].rows] == list(recipe_rows("photographs"))


def test_rows_of_one_configuration_share_its_runs():
    by_config = {}
    for _, row in ROWS:
        if not row.config.startswith("photographs"):
            by_config.setdefault(resolve(load_recipe(row.config)).to_json_best_effort(), set()).add(row.config)
    assert all(len(references) == 1 for references in by_config.values())


def test_rows_have_the_shots_and_the_network_that_their_labels_tell():
    for name, row in ROWS:
        config = resolve(load_recipe(row.config))
        five = "5 shots" in row.label or "5 shots" in TABLES[name].title or row.name.endswith(("_5", "_5_last"))
        assert config.shots == (5 if five else 1), row
        assert (config.model.network == "pfenet") == ("PFENet" in row.label), row
        if name in "12":
            backbone = row.label.split(", ")[1].lower().replace("-", "").replace("v2", "_v2")
            assert config.model.backbone == backbone
            assert config.data.dataset == {"1": "pascal5i", "2": "coco20i"}[name]


def test_claims_are_of_rows_with_the_same_episodes():
    for table in TABLES.values():
        configs = {row.name: resolve(load_recipe(row.config)) for row in table.rows}
        for claim in table.claims:
            assert configs[claim.better].shots == configs[claim.worse].shots
