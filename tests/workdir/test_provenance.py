"""Commits, dirty checkouts, and whether two versions compute the same numbers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mmnet_jax.workdir.provenance import Code, describe_checkout, read_code

CLEAN = Code("0.1.0", 3, "a" * 40, None)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        own = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *own, *arguments], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "code.py").write_text("ONE = 1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    return tmp_path


def test_commits_and_dirty_checkouts_are_described(checkout):
    commit, changes = describe_checkout(checkout)
    assert len(commit) == 40 and changes is None
    (checkout / "code.py").write_text("ONE = 2\n")
    dirty, first = describe_checkout(checkout)
    assert dirty == f"{commit}+dirty"
    (checkout / "code.py").write_text("ONE = 3\n")
    assert describe_checkout(checkout)[1] not in (None, first)
    shutil.rmtree(checkout / ".git")
    assert describe_checkout(checkout) == (None, None)


def test_clean_code_compares_by_numerics_and_dirty_code_by_its_changes():
    assert CLEAN.computes_like(CLEAN._replace(commit="b" * 40, version="0.2.0"))
    assert not CLEAN.computes_like(CLEAN._replace(numerics=4)) and not CLEAN.computes_like(None)
    dirty = CLEAN._replace(commit=f"{CLEAN.commit}+dirty", changes_sha256="1" * 64)
    assert dirty.computes_like(dirty) and not dirty.computes_like(CLEAN) and not CLEAN.computes_like(dirty)
    assert not dirty.computes_like(dirty._replace(changes_sha256="2" * 64))


def test_an_old_record_has_no_code():
    assert read_code({"version": "0.1.0", "code": "0123456789abcdef"}) is None
    assert read_code({**CLEAN._asdict(), "miou": 50.0}) == CLEAN
