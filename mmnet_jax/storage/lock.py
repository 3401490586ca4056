"""One training at a time in a folder, one maker at a time of what several share."""

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
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


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


def _take(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = ""
        with suppress(OSError):  # the holder may just be taking it away
            holder = (folder / LOCK).read_text().strip()
        raise UserError(f"workdir {folder} is in use by another training (process {holder or 'unknown'}).") from None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise


@contextmanager
def turn(path: Path, waiting: Callable[[], None], seconds: float = 0.5) -> Iterator[bool]:
    """Holds the lock file ``path``, once nobody else does; it stays there, since others may be waiting for it.

    Args:
      path: in a folder that is there.
      waiting: called once if there is somebody to wait for.
      seconds: how often to look.

    Yields:
      Whether others are really kept out: False on a file system without locks.
    """
    with path.open("a") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
                break
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                time.sleep(seconds)
            except OSError as error:
                if error.errno not in _WITHOUT_LOCKS:
                    raise
                alone = False
                break
        yield alone
