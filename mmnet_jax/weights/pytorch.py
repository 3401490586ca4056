"""PyTorch's files, read without PyTorch: its zip files, and its streams from before version 1.6."""

import io
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmnet_jax.weights.arrays import as_float32, count_elements
from mmnet_jax.weights.pickles import as_dict, unpickle

STREAM = 0x1950A86A20F9469CFC6C  # the first object of a stream
VERSION = 1001  # the second
PICKLE = "/data.pkl"  # how the path of the pickle in a zip file ends
MAX_REPEATED = 2**24  # elements of a tensor that repeats fewer stored ones, by strides of 0

DTYPES = {
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Float": np.float32,
    "Double": np.float64,
    "Char": np.int8,
    "Byte": np.uint8,
    "Short": np.int16,
    "Int": np.int32,
    "Long": np.int64,
    "Bool": np.bool_,
    "ComplexFloat": np.complex64,
    "ComplexDouble": np.complex128,
}
"""NumPy's type of a storage's elements, by the beginning of the name of PyTorch's class of storages."""


@dataclass(frozen=True)
class Storage:
    """The elements that tensors are views of."""

    dtype: np.dtype  # in the file
    values: np.ndarray  # 1-D and contiguous; floating-point ones as float32


def is_zip(files: Mapping[str, bytes]) -> bool:
    """Whether the files of an archive are those of a zip file of PyTorch's."""
    return sum(path.endswith(PICKLE) for path in files) == 1


def read_zip(records: Mapping[str, bytes]) -> Any:
    """The object in a zip file of PyTorch's, from the files in it; tensors become arrays, floating-point ones float32.

    Raises:
      NotAllowed: naming what it holds beside tensors and plain values.
      ValueError, TypeError, KeyError, IndexError: it is damaged, big-endian or of another kind.
    """
    if not is_zip(records):
        raise ValueError("it is an archive inside an archive")
    path = next(path for path in records if path.endswith(PICKLE))
    folder = path.removesuffix(PICKLE)
    _check_order(records.get(f"{folder}/byteorder", b"little") == b"little")

    def read(key: str, dtype: np.dtype, size: int) -> Storage:
        stored = np.frombuffer(records[f"{folder}/data/{key}"], dtype)
        _check_size(stored.size == size)
        return Storage(dtype, as_float32(stored))

    return _unpickle(io.BytesIO(records[path]), read, {})


def read_stream(file: io.BytesIO, length: int) -> Any:
    """The object in a stream of ``length`` bytes whose first, ``STREAM``, has been read; the rest as ``read_zip``."""
    if unpickle(file, {}) != VERSION:
        raise ValueError("its version is unknown")
    _check_order(unpickle(file, {})["little_endian"])
    claimed = 0

    def allocate(_: str, dtype: np.dtype, size: int) -> Storage:
        nonlocal claimed
        claimed += dtype.itemsize * size
        _check_size(claimed <= length)
        return Storage(dtype, np.empty(size, as_float32(np.empty(0, dtype)).dtype))

    storages: dict[str, Storage] = {}
    content = _unpickle(file, allocate, storages)
    keys = unpickle(file, {})  # in the order of what follows: the number of elements of each storage, and these
    if sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    for storage in map(storages.__getitem__, keys):
        _check_size(int.from_bytes(file.read(8), "little") == storage.values.size)
        stored = file.read(storage.dtype.itemsize * storage.values.size)
        storage.values[:] = as_float32(np.frombuffer(stored, storage.dtype, storage.values.size))
    return content


def _unpickle(file: io.BytesIO, read: Callable[[str, np.dtype, int], Storage], storages: dict[str, Storage]) -> Any:
    """The object pickled at the file's position; ``read`` gives the storages that are not in ``storages`` yet."""

    def load(identity: Any) -> Storage:
        kind, dtype, key, _, size, *view = identity
        known = isinstance(dtype, np.dtype) and isinstance(key, str) and isinstance(size, int) and size >= 0
        if kind != "storage" or not known or any(view):
            raise ValueError("a storage of an unknown kind")
        if key not in storages:
            storages[key] = read(key, dtype, size)
        _check_size(storages[key].dtype == dtype and storages[key].values.size == size)
        return storages[key]

    return unpickle(file, ALLOWED, load)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """The view of its storage that a tensor is; ``rest``: whether it has a gradient, its hooks, and its marks."""
    if not isinstance(storage, Storage) or any(rest[2:]) or any(step < 0 for step in (offset, *stride)):
        raise ValueError("a tensor of an unknown kind")
    values, count = storage.values, count_elements(size)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if count == 0:
        return np.empty(size, values.dtype)
    _check_size(last < values.size and count <= max(values.size, MAX_REPEATED))
    return np.lib.stride_tricks.as_strided(values[offset:], size, [step * values.itemsize for step in stride])


def _check_order(little_endian: Any) -> None:
    if little_endian is not True:
        raise ValueError("its bytes are big-endian")


def _check_size(fits: bool) -> None:
    if not fits:
        raise ValueError("a tensor has another size than its storage")


ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": as_dict,
    "collections.Counter": as_dict,
    "torch.Size": lambda sides: sides,
    "torch.device": lambda *name: name,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
} | {
    f"torch.{device}{name}Storage": np.dtype(dtype)
    for (name, dtype), device in itertools.product(DTYPES.items(), ("", "cuda."))
}
"""Globals that a state dict needs, and the plain values that usually stand beside it."""
