"""One training at a time in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmnet_jax.errors import UserError
from mmnet_jax.files import naming

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes ``folder`` if need be and keeps other trainings out of it; the system frees it however the process ends.

    A folder made here in which nothing was written is taken away again.

    Raises:
      UserError: it is in use, it is a file, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"workdir {folder} is a file, not a folder.")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    path = folder / LOCK
    try:
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be written: {error.strerror}.") from error
    with file:
        _take(file.fileno(), folder)
        with naming(path):
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        try:
            yield
        finally:
            if made and [entry.name for entry in folder.iterdir()] == [LOCK]:
                path.unlink()
                for empty in made:
                    with suppress(OSError):
                        empty.rmdir()


def in_use(folder: Path) -> bool:
    """Whether another process holds ``folder``."""
    try:
        with (folder / LOCK).open("r+") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such folder, or a file system without locks
        return False
    return False


def _take(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = ""
        with suppress(OSError):  # the holder may just be taking it away
            holder = (folder / LOCK).read_text().strip()
        raise UserError(f"workdir {folder} is in use by another training (process {holder or 'unknown'}).") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system without locks
            raise
