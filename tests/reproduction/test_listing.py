"""``docs/configs.md`` describes the recipes as they are."""

from __future__ import annotations

from pathlib import Path

from mmnet_jax.config import shipped_recipes
from mmnet_jax.reproduction.listing import listing
from mmnet_jax.reproduction.tables import TABLES


def test_the_page_is_what_the_script_prints():
    page = Path(__file__).parents[2] / "docs" / "configs.md"
    assert page.read_text() == listing(), "python scripts/reproduce.py --list > docs/configs.md"


def test_it_has_every_row_of_every_table():
    listed = {reference for reference, _ in shipped_recipes()}
    assert {row.config for table in TABLES.values() for row in table.rows} <= listed
