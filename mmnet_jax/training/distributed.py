"""Several processes that train together."""

from __future__ import annotations

import os

import jax


def join_processes() -> None:
    """Makes this process one of several that train together, by the environment."""
    told = [os.environ.get(f"JAX_{name}") for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")]
    address, count, number = told
    if address and count and number:
        jax.distributed.initialize(address, int(count), int(number))
    else:
        jax.distributed.initialize()
