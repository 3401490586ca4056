"""File locks: one training at a time in a workdir, and one writer at a time of shared data."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import LOCK, naming, removed_if_empty


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Creates ``folder`` if absent and keeps other trainings out; the system releases the lock when the process ends.

    A folder created here is removed again if nothing is written to it.

    Raises:
      UserError: it is in use, it is a file, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"workdir {folder} is a file, not a folder.")
    new, path = not folder.exists(), folder / LOCK
    with removed_if_empty(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            raise UserError(f"workdir {folder} cannot be written: {error.strerror}.") from error
        with file:
            try:
                _take(file.fileno())
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise UserError(f"workdir {folder} is in use by another training (process {holder}).") from None
            with naming(path):
                file.truncate(0)
                file.write(f"{os.getpid()}\n")
                file.flush()
            try:
                yield
            finally:
                if new and [entry.name for entry in folder.iterdir()] == [LOCK]:
                    path.unlink()


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Holds the lock file ``path``, after waiting for other processes to release it; only the holder may remove it.

    ``waiting`` is called first if another process holds it. The file and its folder are created if absent.

    Yields:
      Whether the lock works: False on a file system without locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            try:
                alone = _take(file.fileno())
            except BlockingIOError:
                waiting()
                alone = _take(file.fileno(), fcntl.LOCK_EX)
            if _is_at(file.fileno(), path):  # the previous holder has not removed it
                yield alone
                return


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _take(file: int, how: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Locks an open file; False on a file system without locks; raises BlockingIOError if another process holds it."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    return True
