"""PyTorch's files read without PyTorch: its zip files, and its streams from before version 1.6."""

import io
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmnet_jax.weights.pickles import as_dict, unpickle

STREAM = 0x1950A86A20F9469CFC6C  # the first object of a stream
VERSION = 1001  # the second
PICKLE = "/data.pkl"  # end of the pickle's path in a zip file
MAX_REPEATED = 2**20  # elements of a tensor that repeats stored ones, by strides of 0

DTYPES: dict[str, Any] = {
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
"""NumPy types by the prefix of PyTorch's storage classes: ``HalfStorage`` holds float16."""


def is_zip(files: Mapping[str, bytes]) -> bool:
    """Whether an archive with these files is a PyTorch file."""
    return sum(path.endswith(PICKLE) for path in files) == 1


def read_zip(records: Mapping[str, bytes]) -> Any:
    """The object in a PyTorch zip file, whose files are ``records``; tensors become arrays.

    Raises:
      NotAllowed: it holds more than tensors and plain values.
      ValueError and others (see ``unpickle``): it is damaged, big-endian or of another kind.
    """
    if not is_zip(records):
        raise ValueError("it is an archive inside an archive")
    path = next(path for path in records if path.endswith(PICKLE))
    folder = path.removesuffix(PICKLE)
    _check_order(records.get(f"{folder}/byteorder", b"little") == b"little")
    return _unpickle(
        io.BytesIO(records[path]), lambda key, dtype, _: np.frombuffer(records[f"{folder}/data/{key}"], dtype), {}
    )


def read_stream(file: io.BytesIO, length: int) -> Any:
    """The object in a stream of ``length`` bytes after its first object, ``STREAM``; otherwise as ``read_zip``."""
    if unpickle(file, {}) != VERSION:
        raise ValueError("its version is unknown")
    _check_order(unpickle(file, {})["little_endian"])
    claimed = 0

    def allocate(_: str, dtype: np.dtype, size: int) -> np.ndarray:
        nonlocal claimed
        claimed += dtype.itemsize * size
        _check_size(claimed <= length)
        return np.empty(size, dtype)

    storages: dict[str, np.ndarray] = {}
    content = _unpickle(file, allocate, storages)
    keys = unpickle(file, {})  # in the order of what follows: the number of elements of each storage, and these
    if sorted(keys) != sorted(storages):
        raise ValueError("its storages are not those of its tensors")
    for storage in map(storages.__getitem__, keys):
        _check_size(int.from_bytes(file.read(8), "little") == storage.size)
        storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype, storage.size)
    return content


def _unpickle(
    file: io.BytesIO, read: Callable[[str, np.dtype, int], np.ndarray], storages: dict[str, np.ndarray]
) -> Any:
    """The object pickled at the file's position; ``read`` returns the storages that are not in ``storages`` yet."""

    def load(identity: Any) -> np.ndarray:
        kind, name, key, _, size, *view = identity
        known = isinstance(name, str) and isinstance(key, str) and isinstance(size, int) and size >= 0
        if kind != "storage" or not known or any(view):
            raise ValueError("a storage of an unknown kind")
        dtype = np.dtype(DTYPES[name])
        if key not in storages:
            storages[key] = read(key, dtype, size)
        _check_size(storages[key].dtype == dtype and storages[key].size == size)
        return storages[key]

    return unpickle(file, ALLOWED, load)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> np.ndarray:
    """The view of a storage that a tensor is; ``rest`` holds requires_grad, hooks and metadata."""
    contiguous = isinstance(storage, np.ndarray) and storage.ndim == 1 and storage.flags.c_contiguous
    if not contiguous or any(rest[2:]) or any(number < 0 for number in (offset, *size, *stride)):
        raise ValueError("a tensor of an unknown kind")
    if 0 in size:
        return np.empty(size, storage.dtype)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    _check_size(last < storage.size and math.prod(size) <= max(storage.size, MAX_REPEATED))
    return np.lib.stride_tricks.as_strided(storage[offset:], size, [step * storage.itemsize for step in stride])


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
    **{f"torch.{device}{name}Storage": name for name, device in itertools.product(DTYPES, ("", "cuda."))},
}
"""Replacements for the names that a state dict and the plain values beside it need, for ``unpickle``."""
