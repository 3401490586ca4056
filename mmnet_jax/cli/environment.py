"""The environment variables of jax."""

import os
import sys


def compute_in_float32() -> None:
    """Turns ``JAX_ENABLE_X64`` off, here and in processes started from here: what the commands compute is float32."""
    os.environ["JAX_ENABLE_X64"] = "0"
    if jax := sys.modules.get("jax"):  # which has read it already
        jax.config.update("jax_enable_x64", False)


def absent_platform() -> str | None:
    """A sentence where ``JAX_PLATFORMS`` names no device of this machine; None if it does, or jax is not imported."""
    jax = sys.modules.get("jax")
    if not jax or not (named := jax.config.jax_platforms):
        return None
    try:
        jax.devices()
        return None
    except (RuntimeError, AssertionError):
        jax.config.update("jax_platforms", None)
        there = ", ".join(sorted({device.platform for device in jax.devices()}))
        return f"JAX_PLATFORMS={named} names no device of this machine, which has {there}; unset it, or set it to that."
