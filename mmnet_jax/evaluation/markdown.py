"""Markdown tables, and numbers with their intervals."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]


def with_interval(value: float, interval: Sequence[float], form: str = ".1f") -> str:
    """A number with its interval in the format ``form``, such as ``38.2 [35.1, 41.0]``."""
    low, high = interval
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def with_intervals(cell: Mapping[str, Any], name: str, form: str) -> str:
    """A number from ``comparison_table.numbers`` with its intervals, each followed by its ``opposite`` fraction."""
    text = with_interval(cell[name], cell["interval95"], form)
    text += f" ({cell['opposite']:.3f})" if "opposite" in cell else ""
    if "seeds95" in cell:
        low, high = cell["seeds95"]
        text += f", seeds [{low:{form}}, {high:{form}}]"
        text += f" ({cell['seeds_opposite']:.3f})" if "seeds_opposite" in cell else ""
    return text
