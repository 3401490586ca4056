"""The flags ``--config=RECIPE``, ``--config.FIELD=VALUE`` and ``--help-config``."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from mmnet_jax.config import FIELDS, load_recipe, set_field
from mmnet_jax.config.fields import ByReading, Field, Range
from mmnet_jax.errors import UserError

flags.disclaim_key_flags()  # --help lists the flags as those of the command that defines them

OVERRIDE = re.compile(r"--?(no)?config\.([\w.]+)(?:=(.*))?", re.DOTALL)


def define_config_flag() -> None:
    """Defines the flags; after parsing, ``FLAGS.config`` is a ``ConfigDict`` with the overrides applied."""
    text = "A shipped recipe (coco_1shot, ablations:fcm_only) or a recipe file; --config.FIELD=VALUE changes a field."
    flags.DEFINE_string("config", None, text)
    flags.DEFINE_bool("help-config", False, "List every config field with its values, default and meaning, and exit.")


def take_overrides(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Splits ``argv`` into the arguments for absl and the (field, text) of each ``--config.FIELD=VALUE``.

    All of absl's spellings work: ``--FLAG VALUE``, and ``--FLAG`` and ``--noFLAG`` for a bool.
    """
    rest, overrides, words = [], [], iter(argv)
    for word in words:
        found = OVERRIDE.fullmatch(word)
        if not found:
            rest.append(word)
            continue
        negated, name, text = found.groups()
        if text is None and (negated or (name in FIELDS and FIELDS[name].kind is bool)):
            text = str(not negated)
        elif text is None and (text := next(words, None)) is None:
            raise UserError(f"Missing value for flag --config.{name}.")
        overrides.append((name, text))
    return rest, overrides


def load_config(overrides: list[tuple[str, str]]) -> None:
    """Replaces the recipe's name in ``FLAGS.config`` by its config; with ``--help-config`` lists the fields and exits.

    Raises ``UserError`` naming the invalid recipe or field.
    """
    if flags.FLAGS["help-config"].value:
        print("\n".join(field_help()))
        sys.exit(0)
    recipe = flags.FLAGS["config"]
    if recipe.value is not None:
        recipe.value = load_recipe(recipe.value)
    for name, text in overrides:
        if recipe.value is None:
            raise UserError(f"--config.{name} needs --config=FILE before it.")
        override(recipe.value, name, text)


def override(config: ConfigDict, name: str, text: str) -> None:
    """Sets the field ``name`` to the value that ``text`` spells; raises ``UserError`` if name or type is wrong."""
    for section in (name[: dot.start()] for dot in re.finditer(r"\.", name)):
        if section in FIELDS:
            raise UserError(f"config field {section} is not a section; --config.{name} cannot be set.")
    value: Any = text
    if name in FIELDS:
        what, parse = PARSERS[FIELDS[name].kind]
        try:
            value = parse(text)
        except (ValueError, SyntaxError, KeyError):
            raise UserError(f"config field {name} must be {what}, but is {text!r}.") from None
    set_field(config, name, value)


def field_help() -> Iterator[str]:
    """Two lines for each field: its flag with allowed values and default, and its meaning."""
    for name, field in FIELDS.items():
        yield f"  --config.{name}={_allowed(field)} (default: {_default(field)})"
        yield f"      {field.help}"


def _tuple(text: str) -> tuple[Any, ...]:
    value = ast.literal_eval(text)
    return tuple(value) if isinstance(value, tuple | list) else (value,)


PARSERS: dict[type, tuple[str, Callable[[str], Any]]] = {
    int: ("a whole number", int),
    float: ("a number", float),
    bool: ("True or False", lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()]),
    str: ("text", str),
    tuple: ("numbers, as in 60,30,15,8", _tuple),
}


def _allowed(field: Field) -> str:
    if isinstance(field.allowed, Range):
        return f"{field.allowed.low:,} to {field.allowed.high:,}"
    return "|".join(map(str, field.choices)) if field.choices else field.kind.__name__


def _default(field: Field) -> str:
    if isinstance(field.allowed, ByReading):
        return f"{field.allowed.paper} in the paper's reading, {field.allowed.released} in the released"
    return "unset" if field.default is None else str(field.default)
