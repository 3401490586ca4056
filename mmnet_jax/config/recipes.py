"""Recipes: files that return a config, found by path. The shipped ones are in ``configs/``."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config.resolution import from_dict, set_field
from mmnet_jax.errors import UserError

PACKAGE = Path(__file__).parents[1]
# shipped recipes: in an installed wheel inside the package, in a checkout beside it
SHIPPED = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


class Row(NamedTuple):
    """One config of a recipe file with several."""

    fields: dict[str, Any]  # field name, such as ``model.memory_size``, to value; all others are the base config's
    about: str  # one line for people


def apply(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """``config`` itself, with the given fields set."""
    for field, value in fields.items():
        set_field(config, field, value)
    return config


def pick(rows: Mapping[str, Row], name: str, file: str, base: ConfigDict) -> ConfigDict:
    """``base`` with the fields of the row called ``name``; ``file`` is how the message calls the recipe."""
    if name not in rows:
        raise UserError(f"{file}:{name} is no configuration; after the colon comes one of {', '.join(rows)}.")
    return apply(base, rows[name].fields)


def find_recipe(file: str) -> Path:
    """The recipe that ``file`` names: a path, or the bare name of a shipped one, such as ``coco_1shot``."""
    if not re.fullmatch(r"\w+", file):
        return Path(file)
    path = SHIPPED / f"{file}.py"
    if not path.is_file():
        names = [shipped.stem for shipped in _shipped_files()]
        near = difflib.get_close_matches(file, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
        raise UserError(f"no recipe {file} is shipped; {hint}")
    return path


def load_recipe(reference: str) -> ConfigDict:
    """The config of a recipe, open fields left open.

    ``reference`` is a path or the bare name of a shipped recipe, and what its ``get_config`` takes after a colon: a
    row, as in ``ablations:fcm_only``, or a reading.

    Raises:
      UserError: there is no such file or row, the file cannot be run, or sets a field that is unknown or ill-typed.
    """
    file, _, argument = reference.partition(":")
    path = find_recipe(file)
    try:
        config = _run(path).get_config(*([argument] if argument else []))
        return from_dict(config.to_dict())
    except UserError:
        raise
    except SyntaxError as error:
        reason = f"has a syntax error in line {error.lineno}: {error.msg}"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except Exception as error:  # whatever a user's file may raise
        reason = f"cannot be used: {type(error).__name__}: {error}"
    raise UserError(f"config file {file} {reason}.")


def recipe_rows(file: str) -> Mapping[str, Row]:
    """The rows of a recipe file with several, by name."""
    return _run(find_recipe(file)).ROWS


def shipped_recipes() -> Iterator[tuple[str, str]]:
    """The reference of every shipped config, and a line that says what it is."""
    for path in _shipped_files():
        module = _run(path)
        rows = getattr(module, "ROWS", {})
        yield from ((f"{path.stem}:{name}", row.about) for name, row in rows.items())
        if not rows:
            yield path.stem, str(module.__doc__).splitlines()[0].rstrip(".")


def _shipped_files() -> list[Path]:
    return sorted(SHIPPED.glob("*.py"))


def _run(path: Path) -> ModuleType:
    """The file's names, without importing it: a user may have a package called ``configs``."""
    module = ModuleType(path.stem)
    exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    return module
