"""Several processes that train as one job."""

import atexit
import os
import subprocess
from typing import Any

import jax

TIMEOUT = 30
"""Seconds without a sign of life, or of waiting for the others at the end, after which a process counts as dead."""
DEAD = (
    "process {number} of {count} was killed, or ended because another process of this training did; start all of them "
    "again with the same command: the training resumes from its newest checkpoint."
)


def join_processes() -> None:
    """Makes this process one of several that train together, by the environment: jax's own variables, or Slurm and the
    like. If one of them dies, the others end within a minute, with a sentence on stderr.
    """
    address, count, number = (
        os.environ.get(f"JAX_{x}") for x in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    )
    known: dict[str, Any] = {}
    if address and count and number:
        known = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
    jax.distributed.initialize(**known, heartbeat_timeout_seconds=TIMEOUT, shutdown_timeout_seconds=TIMEOUT)
    _tell_if_killed(DEAD.format(number=jax.process_index(), count=jax.process_count()))


def _tell_if_killed(sentence: str) -> None:
    """Lets a shell write ``sentence`` to stderr if this process ends without running its exit handlers.

    When a process dies, the others wait for it in a collective until jax's coordination service aborts them from C++,
    where no Python runs any more. The shell is in a session of its own, so that Ctrl-C does not reach it.
    """
    script = 'read ended || echo "$0" >&2'
    teller = subprocess.Popen(["/bin/sh", "-c", script, sentence], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(teller.communicate, b"ended\n")
