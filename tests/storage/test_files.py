"""Atomic writes, and errors that name the file."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import atomic_files, atomic_folder, naming, write_atomically


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_replaced_unless_the_write_fails(tmp_path, monkeypatch):
    file = tmp_path / "x.json"
    for content in (b"one", b"two"):
        write_atomically(file, content)
        assert names(tmp_path) == ["x.json"] and file.read_bytes() == content

    def no_space(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError) as error:
        write_atomically(file, b"three")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(file))
    assert names(tmp_path) == ["x.json"] and file.read_bytes() == b"two"


def test_a_folder_appears_when_complete(tmp_path):
    with atomic_folder(tmp_path / "a" / "b" / "new") as made:
        made.mkdir()
        (made / "x").write_text("1")
        assert not (tmp_path / "a" / "b" / "new").exists()
    assert names(tmp_path) == ["a", "a/b", "a/b/new", "a/b/new/x"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_a_failure_leaves_no_files(tmp_path, error):
    with pytest.raises(error), atomic_folder(tmp_path / "a" / "new") as made:
        made.mkdir()
        raise error
    with pytest.raises(error), atomic_files(tmp_path / "b" / "c", "z") as folder:
        (folder / "x").touch()
        raise error
    assert names(tmp_path) == []


def test_the_first_of_two_writers_wins(tmp_path):
    with atomic_folder(tmp_path / "new") as second:
        second.mkdir()
        with atomic_folder(tmp_path / "new") as first:
            first.mkdir()
            (first / "first").touch()
    assert names(tmp_path) == ["new", "new/first"]


def test_files_are_added_to_a_folder_with_the_last_named_one_last(tmp_path, monkeypatch):
    for name in ("a.json", "kept"):
        (tmp_path / name).write_text("before")
    order = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append(path.name), replace(path, to)))
    with atomic_files(tmp_path, last="a.json") as folder:
        for name in ("a.json", "b", "c"):
            (folder / name).write_text("after")
        assert names(tmp_path / "a.json") == [] and (tmp_path / "a.json").read_text() == "before"
    assert order == ["b", "c", "a.json"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.json": "after", "b": "after", "c": "after", "kept": "before"
    }  # fmt: skip


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    source = """
import sys, time
from pathlib import Path
from mmnet_jax.storage.files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as made:
    made.mkdir()
    print("here", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", source, str(tmp_path / "new")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "here\n"
    with atomic_folder(tmp_path / "other") as made:
        made.mkdir()
    assert len(list(tmp_path.glob(".unfinished-*/new"))) == 1  # its process is running
    process.send_signal(signal.SIGKILL)
    process.wait()
    with atomic_folder(tmp_path / "new") as made:
        made.mkdir()
    assert names(tmp_path) == ["new", "other"]


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (ValueError("OUT_OF_RANGE: Failed to write 9 bytes to file 8 [os_error_code='28']"), errno.ENOSPC),
        (ValueError("Failed to open [tensorstore_spec='{}'] [os_error_code='30']"), errno.EROFS),
        (RuntimeError("write() failed: File too large; writing a.array_record; at byte 30000"), errno.EFBIG),
        (RuntimeError("open() failed: Permission denied; opening a.array_record; Failed"), errno.EACCES),
    ],
)
def test_storage_library_errors_become_os_errors_with_a_path(error, number):
    with pytest.raises(OSError) as caught, naming("place"):
        raise error
    assert (caught.value.errno, caught.value.filename) == (number, "place")


@pytest.mark.parametrize(
    "error",
    [
        UserError("source.jpg cannot be read: Permission denied."),
        KeyError("Is a directory"),
        ValueError("source.jpg: Permission denied"),
        RuntimeError("Input/output error in a decoder"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "nowhere/at/all"),
    ],
)
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, naming("place"):
        raise error
    assert caught.value is error and getattr(error, "filename", None) in (None, "nowhere/at/all")
