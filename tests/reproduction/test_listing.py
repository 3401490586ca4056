"""``docs/configs.md`` describes the recipes as they are."""

from __future__ import annotations

from pathlib import Path

from mmnet_jax.reproduction.listing import listing


def test_the_page_is_what_the_script_prints():
    page = Path(__file__).parents[2] / "docs" / "configs.md"
    assert page.read_text() == listing(), "python scripts/reproduce.py --list > docs/configs.md"
