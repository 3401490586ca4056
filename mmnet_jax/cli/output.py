"""Checks of the flags that name output files and folders, before any work."""

import tempfile
from pathlib import Path

from mmnet_jax.errors import UserError


def output_file(flag: str, value: str) -> Path:
    """The file that a flag names; raises ``UserError`` unless it can be written."""
    if Path(value).is_dir():
        raise UserError(f"--{flag}={value} is a folder; give the name of a file.")
    if not can_be_made(Path(value)):
        raise UserError(f"--{flag}={value} cannot be written.")
    return Path(value)


def new_folder(flag: str, value: str) -> Path:
    """The folder that a flag names; raises ``UserError`` unless it is empty, or absent and can be made."""
    folder = Path(value)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--{flag}={value} already exists; give a new folder.")
    if not can_be_made(folder):
        raise UserError(f"--{flag}={value} cannot be written.")
    return folder


def can_be_made(path: Path) -> bool:
    """Whether a file or folder can be made at ``path``, with its missing parents."""
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=nearest).close()  # os.access is wrong for root on read-only file systems
    except OSError:
        return False
    return True
