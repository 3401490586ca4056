"""Arrays with a row for each image, in a folder of their own that is there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmnet_jax.storage.files import naming
from mmnet_jax.storage.lock import turn

ABOUT = "about.json"


class Column(NamedTuple):
    """One of a table's arrays."""

    shape: tuple[int, ...]
    """Of a row."""
    dtype: str


class Table(NamedTuple):
    """A table that there is to be; nothing of it need be there."""

    folder: Path
    about: Mapping[str, Any]
    """All that its numbers depend on; a folder about anything else is not this table."""
    rows: int
    columns: Mapping[str, Column]

    @property
    def bytes(self) -> int:
        """Its size on the disk."""
        row = sum(math.prod(column.shape) * np.dtype(column.dtype).itemsize for column in self.columns.values())
        return self.rows * row

    def read(self) -> dict[str, np.ndarray] | None:
        """Its arrays, mapped from the disk; None if it is not there or damaged."""
        try:
            if json.loads((self.folder / ABOUT).read_text()) != self.about:
                return None
            arrays = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in self.columns}
        except (OSError, ValueError, EOFError):
            return None
        for name, column in self.columns.items():
            if arrays[name].shape != (self.rows, *column.shape) or arrays[name].dtype != column.dtype:
                return None
        # plain arrays on the same mapping: indexing NumPy's own kind of mapped array is slower
        return {name: np.asarray(array) for name, array in arrays.items()}

    def ensure(
        self, fill: Callable[[], Iterable[Sequence[np.ndarray]]], say: Callable[[str], None]
    ) -> dict[str, np.ndarray]:
        """``read``, after the table was made if it was not there.

        Of several processes that want it at once one makes it and the others wait. It appears in its place when it is
        whole; what a killed process left behind is taken away by the next one.

        Args:
          fill: gives blocks of rows in order, an array for each column.
          say: is told when there is another process to wait for.

        Raises:
          OSError: naming the folder that cannot be written, or has no room.
        """
        arrays = self.read()
        if arrays is not None:
            return arrays
        name, parent = self.folder.name, self.folder.parent
        with naming(self.folder):
            parent.mkdir(parents=True, exist_ok=True)
            with turn(parent / f".{name}.lock", lambda: say(f"waiting for another process that makes {name}")) as alone:
                arrays = self.read()
                if arrays is not None:
                    return arrays
                if alone:
                    for left in (self.folder, *parent.glob(f".{name}.*.part")):
                        shutil.rmtree(left, ignore_errors=True)
                part = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=parent))
                try:
                    self._write(part, fill())
                    os.chmod(part, parent.stat().st_mode & 0o777)  # temporary folders are for their owner alone
                    if not self.folder.exists():
                        part.rename(self.folder)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
        arrays = self.read()
        assert arrays is not None
        return arrays

    def _write(self, folder: Path, blocks: Iterable[Sequence[np.ndarray]]) -> None:
        """Files are written, not mapped: a disk that fills says so, where a mapping would kill the process."""
        with ExitStack() as stack:
            files = []
            for name, column in self.columns.items():
                file = stack.enter_context((folder / f"{name}.npy").open("wb"))
                header = {"descr": column.dtype, "fortran_order": False, "shape": (self.rows, *column.shape)}
                np.lib.format.write_array_header_1_0(file, header)
                files.append(file)
            for block in blocks:
                for file, array, column in zip(files, block, self.columns.values(), strict=True):
                    assert array.shape[1:] == column.shape
                    file.write(np.ascontiguousarray(array, column.dtype).data)
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        (folder / ABOUT).write_text(json.dumps(self.about, indent=2) + "\n")


def counted(blocks: Iterable[Sequence[np.ndarray]], tell: Callable[[int], None]) -> Iterator[Sequence[np.ndarray]]:
    """The blocks, ``tell`` hearing how many rows there were so far."""
    done = 0
    for block in blocks:
        yield block
        done += len(block[0])
        tell(done)
