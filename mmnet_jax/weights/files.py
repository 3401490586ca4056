"""Reads and writes ``.safetensors`` files."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from mmnet_jax.errors import UserError, first_line
from mmnet_jax.storage import files

METADATA = "mmnet_jax"  # key of this package's entry in a file's metadata, which is JSON


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a ``.safetensors`` file, and its metadata if this package wrote it."""
    path = Path(path)
    check_exists(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(json.loads((file.metadata() or {}).get(METADATA, "{}")))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"weight file {path} is truncated or not a safetensors file ({first_line(error)}).") from error
    return tensors, metadata


def write_safetensors(path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes tensors and metadata atomically; the same arguments give the same bytes."""
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    # one entry, since safetensors writes several in random order
    data = safetensors.numpy.save(contiguous, {METADATA: json.dumps(metadata, sort_keys=True)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, data)
    except OSError as error:
        raise UserError(f"weight file {path} cannot be written ({first_line(error)}).") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal; raises a ``UserError`` if it is missing."""
    check_exists(Path(path))
    return files.sha256(Path(path))


def check_exists(path: Path) -> None:
    """Raises a ``UserError`` unless ``path`` is a file."""
    if not path.is_file():
        raise UserError(f"weight file {path} " + ("is a folder." if path.is_dir() else "does not exist."))
