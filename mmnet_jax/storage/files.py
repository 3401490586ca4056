"""Files that are there with all their content or not at all, and a file system's errors with the place they are of."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REFUSED = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOTDIR", "EISDIR")
    if hasattr(errno, name)
)
"""What a file system says when it will not take or give a file, and the user can put it right."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file by way of a hidden one beside it, ``.NAME.part``, which only a killed process leaves behind.

    Raises:
      OSError: naming the file.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            unfinished.write_bytes(content)
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """What the file system refuses inside comes out as an ``OSError`` that names a file, ``path`` where it names none.

    Python names no file when a write fails, and libraries put the system's words into exceptions of their own.
    """
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED and error.filename is None:
            error.filename = str(path)
        raise
    except Exception as error:
        number = system_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def system_error(error: BaseException) -> int | None:
    """The number in ``REFUSED`` that an exception, or one that it came of, tells of in its words."""
    found = re.search(r"os_error_code='?(\d+)", str(error))  # TensorStore's
    if found and int(found[1]) in REFUSED:
        return int(found[1])
    for number in REFUSED:
        if os.strerror(number) in str(error):
            return number
    came_of = error.__cause__ or error.__context__
    return system_error(came_of) if came_of else None
