"""Several processes that train as one job."""

import atexit
import os
import subprocess
from typing import Any

import jax

TIMEOUT = 30
"""Seconds without a heartbeat, or of waiting for the others at the end, after which a process counts as dead."""


def join_processes() -> None:
    """Joins the processes that train together, found by jax's variables (see ``--distributed``), or by Slurm's.

    If one of them dies, the others end within a minute, with a sentence on stderr.
    """
    address, count, number = (
        os.environ.get(f"JAX_{name}") for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")
    )
    known: dict[str, Any] = {}  # else jax detects the cluster
    if address and count and number:
        known = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
    jax.distributed.initialize(**known, heartbeat_timeout_seconds=TIMEOUT, shutdown_timeout_seconds=TIMEOUT)
    _report_if_killed(
        f"process {jax.process_index()} of {jax.process_count()} was killed, or ended because another process of this "
        "training did; start all of them again with the same command: the training resumes from its newest checkpoint."
    )


def _report_if_killed(message: str) -> None:
    """Starts a shell that prints ``message`` to stderr if this process ends without running its exit handlers.

    When a process dies, the others wait for it in a collective until jax's coordination service aborts them from C++,
    where no Python runs any more. The shell has its own session, so that Ctrl-C does not reach it.
    """
    script = 'read ended || echo "$0" >&2'
    shell = subprocess.Popen(["/bin/sh", "-c", script, message], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(shell.communicate, b"ended\n")
