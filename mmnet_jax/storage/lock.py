"""Locks: one training at a time in a folder, and one maker at a time of what several processes share."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes ``folder`` if it is absent and keeps other trainings out; the system frees it however the process ends.

    A folder made here in which nothing was written is removed again.

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
        try:
            _take(file.fileno())
        except BlockingIOError:
            holder = ""
            with suppress(OSError):  # the holder may be removing it
                holder = path.read_text().strip()
            message = f"workdir {folder} is in use by another training (process {holder or 'unknown'})."
            raise UserError(message) from None
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


@contextmanager
def turn(path: Path, waiting: Callable[[], None], seconds: float = 0.5) -> Iterator[bool]:
    """Holds the lock file ``path``, once nobody else does; it is not removed, since others may be waiting for it.

    Args:
      path: in a folder that exists.
      waiting: called once if another process holds it.
      seconds: between two attempts.

    Yields:
      Whether others are really kept out: False on a file system without locks.
    """
    with path.open("a") as file:
        alone: bool | None = None
        while alone is None:
            try:
                alone = _take(file.fileno())
            except BlockingIOError:
                waiting()
                waiting = lambda: None  # noqa: E731
                time.sleep(seconds)
        yield alone


def _take(file: int) -> bool:
    """Locks an open file, or returns False on a file system without locks.

    Raises:
      BlockingIOError: another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True
