"""Recipes: Python files with a ``get_config``, run by path; ``configs/`` has the shipped ones."""

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
# an installed wheel has the recipes inside the package, a checkout beside it
SHIPPED = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


class Row(NamedTuple):
    """One config of a recipe with several."""

    fields: dict[str, Any]  # field, such as ``model.memory_size``, to value; others are the base config's
    about: str  # one line


def apply(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """Sets fields of ``config`` in place, and returns it."""
    for field, value in fields.items():
        set_field(config, field, value)
    return config


def pick(rows: Mapping[str, Row], name: str, file: str, base: ConfigDict) -> ConfigDict:
    """``base`` with the fields of row ``name``; the error message calls the recipe ``file``."""
    if name not in rows:
        raise UserError(f"{file}:{name} is not a config; after the colon give one of {', '.join(rows)}.")
    return apply(base, rows[name].fields)


def find_recipe(file: str) -> Path:
    """The path of a recipe, from a path or the bare name of a shipped recipe, such as ``coco_1shot``."""
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
    """The config of a recipe, not yet resolved.

    ``reference`` is a path or the bare name of a shipped recipe; after a colon comes the argument of its
    ``get_config``: a row, as in ``ablations:fcm_only``, or a reading.

    Raises:
      UserError: the file or row does not exist, the file fails, or it sets a field that is unknown or ill-typed.
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
    except Exception as error:  # a user's file may raise anything
        reason = f"cannot be used: {type(error).__name__}: {error}"
    raise UserError(f"config file {file} {reason}.")


def recipe_rows(file: str) -> Mapping[str, Row]:
    """The rows of a recipe by name."""
    return _run(find_recipe(file)).ROWS


def shipped_recipes() -> Iterator[tuple[str, str]]:
    """Reference and one-line description of every shipped config."""
    for path in _shipped_files():
        module = _run(path)
        rows = getattr(module, "ROWS", {})
        yield from ((f"{path.stem}:{name}", row.about) for name, row in rows.items())
        if not rows:
            yield path.stem, str(module.__doc__).splitlines()[0].rstrip(".")


def _shipped_files() -> list[Path]:
    return sorted(SHIPPED.glob("*.py"))


def _run(path: Path) -> ModuleType:
    """Runs a file as a module without importing it: a user may have a package called ``configs``."""
    module = ModuleType(path.stem)
    exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
    return module
