"""A pickle read as data: nothing in it is imported, and nothing is called but what its reader lists."""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


class NotAllowed(ValueError):
    """A pickle names a class or function, the message, that is not on its reader's list."""


def as_dict(items: Any = ()) -> dict[Any, Any]:
    """A dict of (key, value) pairs or of another dict.

    Raises:
      ValueError: a key is neither a string nor an integer (hashing a tuple nested a million times ends the process).
    """
    made: dict[Any, Any] = {}
    for key, value in items.items() if isinstance(items, dict) else items:
        if not isinstance(key, str | int):
            raise ValueError("a key is neither a string nor an integer")
        made[key] = value
    return made


def _refuse(*_: Any) -> Any:
    raise ValueError("it asks for more than its format has")


def unpickle(
    file: io.BytesIO,
    allowed: Mapping[str, Any],
    load: Callable[[Any], Any] = _refuse,
    build: Callable[[Any, Any], None] = _refuse,
) -> Any:
    """The object pickled at the file's position, in protocol 2 or 3; the position moves behind it.

    Python's own unpickler calls what a file names, hashes any key and allocates any size that a file claims. This one
    has the instructions that tables of arrays need, and holds no more than objects made of the file's own bytes and
    what the three arguments make.

    Args:
      allowed: what stands for each global, by ``module.name``; the file may call those that are callable.
      load: gives the object of a persistent id.
      build: sets the state of an object; the attributes of a dict are left out.

    Raises:
      NotAllowed: the file names a global that is not in ``allowed``.
      ValueError, TypeError, KeyError, IndexError: the pickle is damaged or of another kind.
    """
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below the open marks
    memo: dict[int, Any] = {}

    def take_marked() -> list[Any]:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO":
                if argument not in (2, 3):
                    raise ValueError(f"pickle protocol {argument}")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "LONG4" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINSTRING" | "BINSTRING" | "SHORT_BINBYTES" | "BINBYTES":
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in CONTAINERS:
                stack.append(CONTAINERS[name]())
            case "MARK":
                outer.append(stack)
                stack = []
            case "TUPLE":
                items = take_marked()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                items = [stack.pop() for _ in range(int(name[-1]))]
                stack.append(tuple(reversed(items)))
            case "APPEND" | "APPENDS" as name:
                items = [stack.pop()] if name == "APPEND" else take_marked()
                _check(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else take_marked()
                _check(stack[-1], dict).update(as_dict(zip(items[::2], items[1::2], strict=True)))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                name = argument.replace(" ", ".")
                if name not in allowed:
                    raise NotAllowed(name)
                stack.append(allowed[name])
            case "REDUCE":
                arguments = _check(stack.pop(), tuple)
                stack.append(stack.pop()(*arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], dict):
                    build(stack[-1], state)
            case "BINPERSID":
                stack.append(load(stack.pop()))
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"pickle instruction {name}")
    raise ValueError("it has no end")


def _check(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} in the place of a {kind.__name__}")
    return value
