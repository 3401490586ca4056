"""Tables on disk: rows of arrays in a folder that is written atomically."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmnet_jax.cli.progress import Say
from mmnet_jax.storage.files import atomic_folder, naming
from mmnet_jax.storage.lock import exclusive

ABOUT, ROWS = "about.json", "rows.npy"


class Table(NamedTuple):
    """The place and the layout of a table, which need not exist yet."""

    folder: Path
    about: Mapping[str, Any]
    """Everything that the numbers depend on; a folder with another ``about.json`` is rewritten."""
    length: int
    """Number of rows."""
    row: np.dtype
    """A row's arrays, as a structured type."""

    @property
    def bytes(self) -> int:
        """Size of the rows."""
        return self.length * self.row.itemsize

    def read(self) -> np.ndarray | None:
        """The rows, memory-mapped; None if the table is missing or damaged."""
        try:
            about = json.loads((self.folder / ABOUT).read_text())
            rows = np.load(self.folder / ROWS, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        fits = about == self.about and rows.shape == (self.length,) and rows.dtype == self.row
        return np.asarray(rows) if fits else None  # np.memmap is slower to index

    def ensure(self, fill: Callable[[], Iterable[np.ndarray]], say: Say) -> np.ndarray:
        """The rows; a missing table is written first, by one of several processes while the others wait."""
        name, parent = self.folder.name, self.folder.parent
        rows = self.read()
        if rows is None:
            with naming(self.folder):
                parent.mkdir(parents=True, exist_ok=True)
                lock, waiting = parent / f".{name}.lock", f"waiting for another process that makes {name}"
                with exclusive(lock, lambda: say(waiting)) as alone:
                    if self.read() is None:
                        if alone:
                            shutil.rmtree(self.folder, ignore_errors=True)
                        with atomic_folder(self.folder) as part:
                            self._write(part, fill())
            rows = self.read()
            assert rows is not None
        return rows

    def _write(self, folder: Path, blocks: Iterable[np.ndarray]) -> None:
        """Writes the file without mapping it: on a full disk a write fails, but a mapping kills the process."""
        folder.mkdir()
        with (folder / ROWS).open("wb") as file:
            descr = np.lib.format.dtype_to_descr(self.row)
            header = {"descr": descr, "fortran_order": False, "shape": (self.length,)}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, self.row).data)
            file.flush()
            os.fsync(file.fileno())
        (folder / ABOUT).write_text(json.dumps(self.about, indent=2) + "\n")
