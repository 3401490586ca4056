"""Parts of Markdown reports: tables, and numbers with their intervals."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]


def with_interval(value: float, interval: Sequence[float], form: str = ".1f") -> str:
    """A number and its interval, each in the format ``form``, such as ``38.2 [35.1, 41.0]``."""
    low, high = interval
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
