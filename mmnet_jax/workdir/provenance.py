"""Provenance of a number: the package's version, its commit, and ``NUMERICS``."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mmnet_jax

NUMERICS = 3
"""Raised by hand whenever the same config, weights and data give numbers that differ by more than 1e-5."""


class Code(NamedTuple):
    """A version of this package's code."""

    version: str
    numerics: int
    commit: str | None
    """Commit of the package's checkout, with ``+dirty`` if files differ from it; None without a checkout."""
    changes_sha256: str | None  # SHA-256 of a dirty checkout's commit and differences; None if clean

    def computes_like(self, other: Code | None) -> bool:
        """Whether both compute the same numbers. A dirty checkout only matches itself."""
        return other is not None and self.key() == other.key()

    def key(self) -> dict[str, Any]:
        """The part that decides which stored numbers may be reused."""
        return {"numerics": self.numerics, "changes_sha256": self.changes_sha256}


def read_code(record: Mapping[str, Any]) -> Code | None:
    """The code in the fields of ``config.json`` or ``result.json``; None if they are absent."""
    try:
        return Code(*(record[field] for field in Code._fields))
    except (KeyError, TypeError):
        return None


def describe_checkout(root: Path) -> tuple[str | None, str | None]:
    """``commit`` and ``changes_sha256`` of ``Code`` for the checkout at ``root``; both None without one."""

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=10, check=True).stdout

    if not (root / ".git").exists():
        return None, None
    try:
        commit = git("rev-parse", "HEAD").strip()
        changes = git("status", "--porcelain") + git("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None, None
    if not changes:
        return commit.decode(), None
    return f"{commit.decode()}+dirty", hashlib.sha256(commit + changes).hexdigest()


CODE = Code(mmnet_jax.__version__, NUMERICS, *describe_checkout(Path(mmnet_jax.__file__).resolve().parents[1]))
"""The running code, read when this module is imported: later edits do not count."""
