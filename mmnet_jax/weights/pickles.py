"""Python's unpickler, restricted to the names that a format lists, and to sizes that the file really has."""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

MAX_TUPLES = 20_000  # in one pickle: Python hashes nested tuples recursively, and 100,000 levels overflow the stack


class NotAllowed(ValueError):
    """A pickle needs a class or function, named in the message, that its format does not list."""


class Table(dict[Any, Any]):
    """A dict with attributes, as PyTorch saves state dicts."""


def unpickle(file: io.BytesIO, allowed: Mapping[str, Any], load: Callable[[Any], Any] | None = None) -> Any:
    """The object pickled at the file's position; the position moves behind it.

    Args:
      allowed: replacements for the classes and functions that the file may name, by ``module.name``.
      load: returns the object of a persistent id.

    Raises:
      NotAllowed: the file names anything that is not in ``allowed``.
      ValueError, TypeError, LookupError, AttributeError, EOFError, pickle.UnpicklingError: it is damaged.
    """
    start, tuples = file.tell(), 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # refuses a size beyond the file's end
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise ValueError("an index beyond its memo")  # Python allocates a memo of any size
        tuples += opcode.name.startswith("TUPLE")
    if tuples > MAX_TUPLES:
        raise ValueError("too many tuples")
    file.seek(start)
    return _Unpickler(file, allowed, load).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, allowed: Mapping[str, Any], load: Callable[[Any], Any] | None) -> None:
        super().__init__(file, fix_imports=False, encoding="latin1")
        self._allowed, self._load = allowed, load

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self._allowed:
            raise NotAllowed(f"{module}.{name}")
        return self._allowed[f"{module}.{name}"]

    def persistent_load(self, identity: Any) -> Any:
        if self._load is None:
            raise ValueError("a persistent id")
        return self._load(identity)
