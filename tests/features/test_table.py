"""Tables on disk: written once, despite damage, concurrent writers and full disks."""

import errno
import fcntl
import os
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from mmnet_jax.features.table import Table
from tests.training.tiny_training import no_file_above

ROWS = np.arange(12.0, dtype=np.float32).reshape(4, 3)
ROW = np.dtype([("x", "<f4", (3,))])


def table(folder, about=1):
    return Table(folder, {"of": about}, 4, ROW)


def rows(value=ROWS):
    return lambda: iter(np.split(value.view(np.dtype([("x", "<f4", value.shape[1:])]))[:, 0], [3]))


def silent(line):
    pass


def test_a_table_is_made_once_and_memory_mapped(tmp_path):
    made = table(tmp_path / "t").ensure(rows(), silent)
    again = table(tmp_path / "t").ensure(pytest.fail, silent)
    np.testing.assert_array_equal(made["x"], ROWS)
    np.testing.assert_array_equal(again["x"], ROWS)
    assert isinstance(again.base, np.memmap) and not again.flags.writeable
    assert table(tmp_path / "t").bytes == ROWS.nbytes
    # a table with another key is replaced
    np.testing.assert_array_equal(table(tmp_path / "t", about=2).ensure(rows(ROWS + 1), silent)["x"], ROWS + 1)


@pytest.mark.parametrize(("file", "left"), [("rows.npy", 150), ("rows.npy", None), ("about.json", 1)])
def test_a_damaged_table_is_made_again(tmp_path, file, left):
    table(tmp_path / "t").ensure(rows(), silent)
    if left is None:
        (tmp_path / "t" / file).unlink()
    else:
        os.truncate(tmp_path / "t" / file, left)
    assert table(tmp_path / "t").read() is None
    np.testing.assert_array_equal(table(tmp_path / "t").ensure(rows(), silent)["x"], ROWS)


def test_of_two_writers_one_makes_a_table_and_the_other_waits(tmp_path):
    started, waiting, lines = threading.Event(), threading.Event(), []

    def slow_rows():
        started.set()
        assert waiting.wait(60)
        yield from rows()()

    def note(line):
        lines.append(line)
        waiting.set()

    first = threading.Thread(target=table(tmp_path / "t").ensure, args=(slow_rows, silent))
    first.start()
    assert started.wait(60)
    np.testing.assert_array_equal(table(tmp_path / "t").ensure(pytest.fail, note)["x"], ROWS)
    first.join(60)
    assert lines == ["waiting for another process that makes t"]


def test_a_table_is_made_without_file_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", mock.Mock(side_effect=OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))))
    (tmp_path / ".unfinished-other").mkdir()
    np.testing.assert_array_equal(table(tmp_path / "t").ensure(rows(), silent)["x"], ROWS)
    assert (tmp_path / ".unfinished-other").is_dir()  # another process may be using it


def test_a_full_disk_is_an_error_that_names_the_table_and_leaves_nothing(tmp_path):
    large = np.zeros((4, 20_000), np.float32)
    wide = Table(tmp_path / "t", {}, 4, np.dtype([("x", "<f4", (20_000,))]))
    with no_file_above(100_000), pytest.raises(OSError) as error:
        wide.ensure(rows(large), silent)
    assert error.value.errno == errno.EFBIG and Path(error.value.filename) == tmp_path / "t"
    assert [path.name for path in tmp_path.iterdir()] == [".t.lock"]
