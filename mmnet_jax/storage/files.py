"""Atomic writes of files and folders, checksums, and file-system errors that name a path."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

REFUSED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT))
REFUSED |= {errno.EFBIG, errno.EIO, errno.ENOTDIR, errno.EISDIR}
"""File-system errors that the user can put right."""

UNFINISHED = ".unfinished-"
"""Prefix of the hidden folders that ``atomic_folder`` and ``atomic_files`` write to first."""

LOCK = ".lock"
"""Name of the lock file in a folder; its writer holds the lock."""

# messages of the errors that two storage libraries raise instead of an OSError
_TENSORSTORE = re.compile(r"\[[^]]*os_error_code='(\d+)'")  # ValueError: ... File too large [os_error_code='27']
_ARRAY_RECORD = re.compile(r"\w+\(\) failed: ([^;]+); (?:opening|reading|writing) ")  # RuntimeError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file atomically, through a hidden ``.NAME.part`` beside it; errors name the file."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            unfinished.write_bytes(content)
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, indented, with ``write_atomically``; ``ValueError`` for NaN and infinity."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Makes a folder atomically; if another process makes it first, that one is kept.

    Yields:
      A path in a hidden folder beside it, to create; at the end it is renamed to ``folder`` (absent or empty).
    """
    with _unfinished(folder.parent) as work:
        made = work / folder.name
        yield made
        try:
            made.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


@contextmanager
def atomic_files(folder: Path, last: str) -> Iterator[Path]:
    """Adds files to a folder, which is created if absent: all of them or none. Errors name it, as in ``naming``.

    Yields:
      A hidden folder inside to write to; at the end its files are moved to ``folder``, ``last`` after all others.
    """
    with naming(folder), _unfinished(folder) as work:
        yield work
        files = [file for file in work.iterdir() if file.name != LOCK]
        for file in sorted(files, key=lambda file: (file.name == last, file.name)):
            file.replace(folder / file.name)


@contextmanager
def _unfinished(root: Path) -> Iterator[Path]:
    """A temporary folder in ``root``; on failure it is removed, and so are ``root`` and its parents if created here.

    Its maker holds a lock in it, which the system releases when the process ends: the next call removes the folders
    without a lock, which killed processes have left.
    """
    with removed_if_empty(root):
        root.mkdir(parents=True, exist_ok=True)
        for left in root.glob(f"{UNFINISHED}*"):
            with suppress(OSError), (left / LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if it is in use, or without locks
                shutil.rmtree(left, ignore_errors=True)
        work = new = Path(tempfile.mkdtemp(dir=root, prefix=".new-"))
        try:
            with (new / LOCK).open("w") as lock:
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                work = new.rename(root / new.name.replace(".new-", UNFINISHED))  # locked before others see it
                yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Removes ``folder`` and its parents at the end if they were absent before and are empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns file-system errors into an ``OSError`` with a file name: ``path`` if the error has none.

    Python names no file when a write fails, and TensorStore and ArrayRecord raise exceptions of other types.
    """
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED and error.filename is None:
            error.filename = str(path)
        raise
    except (ValueError, RuntimeError) as error:
        number = system_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def system_error(error: BaseException) -> int | None:
    """The errno of an ``OSError``, or of TensorStore's or ArrayRecord's error instead; None if not in ``REFUSED``."""
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError) and (found := _TENSORSTORE.search(str(error))):
        number = int(found[1])
    elif isinstance(error, RuntimeError) and (found := _ARRAY_RECORD.search(str(error))):
        number = next((number for number in REFUSED if os.strerror(number) == found[1]), None)
    return number if number in REFUSED else None
