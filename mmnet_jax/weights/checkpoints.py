"""Reads checkpoints of other projects: PyTorch files, pickles of NumPy arrays, safetensors, and archives of them."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmnet_jax.errors import UserError, first_line
from mmnet_jax.weights import archives, numpy_pickles, pytorch
from mmnet_jax.weights.files import check_exists, read_safetensors
from mmnet_jax.weights.pickles import NotAllowed, unpickle

PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt")  # PyTorch's files, ``.pth.tar`` among them, and other pickles
SUFFIXES = (".safetensors", *PICKLES, ".whl", ".tar.gz", ".zip")
MACOS = "/._"  # precedes the names of files that macOS adds to an archive
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys under which a checkpoint keeps its tensors
DATA_PARALLEL = "module."  # prefix from PyTorch's data-parallel wrappers
ATTRIBUTES = ("model.", "net.", "network.", "backbone.", "encoder.")  # prefixes from a module around the network

DAMAGE: tuple[type[Exception], ...]
DAMAGE = (ValueError, TypeError, LookupError, OverflowError, EOFError, RuntimeError, AttributeError)
DAMAGE += (pickle.UnpicklingError, struct.error, zlib.error)
DAMAGE += (gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)


class StateDict(NamedTuple):
    """The tensors of a network in a checkpoint."""

    tensors: dict[str, np.ndarray]
    """By their names there, without prefixes (see ``strip_prefixes``); floating-point ones as float32."""
    epoch: int | None  # None if the file has none


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors alone; see ``read_checkpoint``."""
    return read_checkpoint(path).tensors


def read_checkpoint(
    path: str | Path, network: str = "", fits: Callable[[Mapping[str, np.ndarray]], bool] = bool
) -> StateDict:
    """The tensors of a weight file; of several in an archive, those of the one that ``fits`` ``network``.

    Raises:
      UserError: as ``read_checkpoints``; or an archive holds several weight files, and not exactly one fits.
    """
    found = checkpoints = read_checkpoints(path)
    of_network = f" of {network}" if network else ""
    if len(checkpoints) > 1:
        found = {name: checkpoint for name, checkpoint in checkpoints.items() if fits(checkpoint.tensors)}
    if not found:
        raise UserError(f"{path} holds no weight file{of_network}, but {', '.join(checkpoints)}.")
    if len(found) > 1:
        several = f"several weight files{of_network}; unpack it and give one of them"
        raise UserError(f"{path} holds {several}: {', '.join(found)}.")
    return next(iter(found.values()))


def read_checkpoints(path: str | Path) -> dict[str, StateDict]:
    """The tensors of a weight file, or of each weight file in an archive, by its path there.

    A weight file is a ``.safetensors`` file, a PyTorch file or a pickle of NumPy arrays. An archive is a wheel, an
    sdist or any other zip or tar file of PyTorch files or pickles. Tensors are taken from a ``state_dict`` or a like
    entry, if there is one; other entries (an optimiser's state) are left out.

    Raises:
      UserError: a file is missing, damaged or of another kind, or holds no tensors or more than tensors.
    """
    path = Path(path)
    check_exists(path)
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"weight file {path} is of an unknown kind; the kinds known are {', '.join(SUFFIXES)}.")
    what = f"weight file {path}"
    if path.suffix == ".safetensors":
        return {path.name: _state_dict(read_safetensors(path)[0], what, path.stat().st_size)}
    data = path.read_bytes()
    with _report_damage(what):
        members = archives.unpack(data)
        if members is None or pytorch.is_zip(members):
            return {path.name: _read(data, members, what)}
    found = {name: content for name, content in members.items() if name.endswith(PICKLES) and MACOS not in name}
    if not found:
        raise UserError(f"archive {path} holds no PyTorch file or pickle (and a .safetensors file has to be unpacked).")
    checkpoints = {}
    for name, content in found.items():
        what = f"weight file {name} in {path}"
        with _report_damage(what):
            checkpoints[name] = _read(content, archives.unpack(content), what)
    return checkpoints


def strip_prefixes(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors by their names in the network itself.

    ``module.`` is removed from each name that has it, and one of ``ATTRIBUTES`` that all names have; but nothing where
    two names would become the same.
    """
    stripped = _without(tensors, DATA_PARALLEL)
    for prefix in ATTRIBUTES:
        if stripped and all(name.startswith(prefix) for name in stripped):
            return strip_prefixes(_without(stripped, prefix))
    return stripped


def _without(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    stripped = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return stripped if len(stripped) == len(tensors) else dict(tensors)


def _read(data: bytes, members: dict[str, bytes] | None, what: str) -> StateDict:
    """The tensors in a file; ``members`` are its files if it is an archive."""
    if members is not None:
        return _state_dict(pytorch.read_zip(members), what, len(data))
    file = io.BytesIO(data)
    content = unpickle(file, numpy_pickles.ALLOWED)
    if content == pytorch.STREAM:
        return _state_dict(pytorch.read_stream(file, len(data)), what, len(data))
    return _state_dict(numpy_pickles.flatten(content), what, len(data))


def _state_dict(content: object, what: str, length: int) -> StateDict:
    """The table of tensors in the content of a file of ``length`` bytes, and its epoch."""
    epoch = content.get("epoch") if isinstance(content, dict) else None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in content.items()
    ):
        raise UserError(f"{what} holds no table of named tensors.")
    if not content:
        raise UserError(f"{what} holds no tensors.")
    copied = sum(array.nbytes for array in content.values() if array.dtype != np.float32)
    if copied > max(archives.MAX_RATIO * length, archives.MIN_LIMIT):  # ``_as_float32`` copies shared storages
        raise ValueError("its tensors share their storage too often")
    tensors = {name: _as_float32(tensor) for name, tensor in strip_prefixes(content).items()}
    return StateDict(tensors, epoch if isinstance(epoch, int) and 0 <= epoch < 2**31 else None)


def _as_float32(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fV":  # V: bfloat16, a type of ml_dtypes
        return array
    with np.errstate(over="ignore", invalid="ignore"):  # numbers beyond float32's become infinite
        return array.astype(np.float32, copy=False)


@contextmanager
def _report_damage(what: str) -> Iterator[None]:
    try:
        yield
    except NotAllowed as error:
        unsafe = f"which is unsafe to read ({str(error)[:100]}); save its state_dict alone"
        raise UserError(f"{what} holds more than tensors, {unsafe}.") from error
    except DAMAGE as error:
        raise UserError(f"{what} is truncated or not a weight file ({first_line(error)}).") from error
