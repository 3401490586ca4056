"""The exception for errors that users can fix, and helpers for its messages."""

from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """An error that the user can fix; its message is one sentence that names the thing at fault.

    The commands print only the message, on stderr, and exit with status 2.
    """


def listed(names: Iterable[str], word: str) -> str:
    """Joins names with commas and a last ``word``, as in ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def first_of(names: Sequence[str], most: int = 5) -> str:
    """The first ``most`` names, and how many more there are, as in ``a, b and 3 more``."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop; the error's type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def printable(text: str | Path) -> str:
    """The text with ``?`` for each unprintable character, since file names may hold any bytes."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
