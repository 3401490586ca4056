"""Strict checks of the package's functions: annotated types and shapes, no implicit promotion."""

from typing import Any

import jax
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook


def typechecker(function: Any) -> Any:
    """Checks arguments and results against annotations; ``float`` allows an ``int``, as in mypy.

    Constructors are not checked: JAX fills a pytree's fields with whatever it maps over them.
    """
    if getattr(function, "__name__", "") == "__init__":
        return function
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True))


def be_strict() -> None:
    """Checks every function of the package; call it before the package is imported."""
    install_import_hook("mmnet_jax", f"{__name__}.typechecker")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
