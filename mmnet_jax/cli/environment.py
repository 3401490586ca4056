"""Environment variables of jax."""

import os
import sys


def compute_in_float32() -> None:
    """Turns ``JAX_ENABLE_X64`` off in this process and its children: the commands compute in float32."""
    os.environ["JAX_ENABLE_X64"] = "0"
    if jax := sys.modules.get("jax"):  # jax has read the variable already
        jax.config.update("jax_enable_x64", False)


def missing_platform() -> str | None:
    """An error message if ``JAX_PLATFORMS`` names no device of this machine; None otherwise or without jax."""
    jax = sys.modules.get("jax")
    if not jax or not (named := jax.config.jax_platforms):
        return None
    try:
        jax.devices()
        return None
    except (RuntimeError, AssertionError):
        jax.config.update("jax_platforms", None)
        available = ", ".join(sorted({device.platform for device in jax.devices()}))
        return f"JAX_PLATFORMS={named} names no device of this machine; unset it or set it to {available}."
