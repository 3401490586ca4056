"""Python's unpickler, restricted to the names that a format lists, and to the opcodes of tables of arrays."""

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

REFUSED = pickle.INST + pickle.OBJ + pickle.NEWOBJ + pickle.NEWOBJ_EX + pickle.EXT1 + pickle.EXT2 + pickle.EXT4
REFUSED += pickle.DICT + pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET + pickle.BYTEARRAY8
"""Opcodes that no table of arrays needs."""


class NotAllowed(ValueError):
    """A pickle needs a class or function, named in the message, that its format does not list."""


def as_dict(items: Any = ()) -> dict[Any, Any]:
    """A dict of (key, value) pairs or of another dict; raises ``ValueError`` for a key other than ``str`` or ``int``.

    Hashing a nested tuple overflows the stack, or never ends if each level holds the next one twice.
    """
    pairs = list(items.items() if isinstance(items, dict) else items)
    if not all(isinstance(key, str | int) for key, _ in pairs):
        raise ValueError("a key is neither a string nor an integer")
    return dict(pairs)


def unpickle(file: io.BytesIO, allowed: Mapping[str, Any], load: Callable[[Any], Any] | None = None) -> Any:
    """The object pickled at the file's position; the position moves behind it.

    Args:
      allowed: replacements for the classes and functions that the file may name, by ``module.name``. Only instances of
        these classes get a state.
      load: returns the object of a persistent id.

    Raises:
      NotAllowed: the file names anything that is not in ``allowed``.
      ValueError, TypeError, LookupError, AttributeError, EOFError, struct.error, pickle.UnpicklingError: it is damaged.
    """
    return _Unpickler(file, allowed, load).load()


class _Unpickler(pickle._Unpickler):
    """The unpickler written in Python: its opcodes can be replaced, and it allocates no more than it reads."""

    stack: list[Any]
    append: Callable[[Any], None]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {
        code: step for code, step in pickle._Unpickler.dispatch.items() if code not in REFUSED
    }

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

    def _global(self) -> None:
        module, name = self.readline(), self.readline()
        if not name.endswith(b"\n"):
            raise EOFError("it ends within a name")
        self.append(self.find_class(module[:-1].decode(), name[:-1].decode()))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([(key, value)])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._update(zip(items[::2], items[1::2], strict=True))

    def _update(self, pairs: Any) -> None:
        if not isinstance(self.stack[-1], dict):
            raise TypeError("items of no dict")
        self.stack[-1].update(as_dict(pairs))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, dict):
            return  # attributes, such as a state dict's ``_metadata``
        if type(target) not in [kind for kind in self._allowed.values() if isinstance(kind, type)]:
            raise TypeError("a state of an object that has none")
        target.__setstate__(state)

    dispatch |= {pickle.GLOBAL[0]: _global, pickle.BUILD[0]: _build}
    dispatch |= {pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items}
