"""A row of a table as the fields in which its configuration differs from another."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config import from_dict
from mmnet_jax.errors import UserError


class Row(NamedTuple):
    """One named configuration of a module with several."""

    fields: dict[str, Any]
    """Field, as in ``model.memory_size``, to value; all others are those of the configuration it starts from."""
    about: str
    """What that means, in one line."""


def apply(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """``config`` itself, with the given fields set.

    Raises:
      UserError: naming a field that is unknown or of the wrong type.
    """
    nested: dict[str, Any] = {}
    for field, value in fields.items():
        *path, name = field.split(".")
        section = nested
        for part in path:
            section = section.setdefault(part, {})
        section[name] = value
    from_dict(nested)
    config.update(nested)
    return config


def pick(rows: Mapping[str, Row], name: str, file: str, base: ConfigDict) -> ConfigDict:
    """``base`` with the fields of the row called ``name``; ``file`` is how the message calls the module.

    Raises:
      UserError: listing the names, if there is no such row.
    """
    if name not in rows:
        raise UserError(f"{file}:{name} is no configuration; after the colon comes one of {', '.join(rows)}.")
    return apply(base, rows[name].fields)
