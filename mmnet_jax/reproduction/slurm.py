"""Runs as a Slurm array: one script, a task for each."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mmnet_jax.reproduction.launching import ROOT, Job

DEFAULTS = ("--nodes=1", "--ntasks=1", "--cpus-per-task=8", "--gres=gpu:1", "--signal=TERM@120")
"""A GPU for each; two minutes before its time is up a training is told to write a checkpoint and stop."""


def script(
    jobs: Sequence[Job], name: str, folder: Path, options: Sequence[str] = (), at_once: int | None = None
) -> str:
    """What ``sbatch`` takes.

    Args:
      jobs: a task each; its output goes behind that of earlier attempts in its log.
      name: of the array.
      folder: that gets what Slurm itself has to say of a task; it must be there.
      options: lines of ``#SBATCH``, which come after ours and so before them in rank.
      at_once: tasks that may run at a time; all if not given.
    """
    limit = f"%{at_once}" if at_once else ""
    place = shlex.quote(f"--output={str(folder).replace('%', '%%')}/slurm-%A_%a.out")
    own = (f"--job-name={name}", f"--array=0-{len(jobs) - 1}{limit}", place, *DEFAULTS)
    lines = ["#!/usr/bin/env bash"]
    lines += [f"#SBATCH {option}" for option in (*own, *options)]
    lines += [
        "# Submit it from the folder in which it was made; submitted again, runs go on where they stopped.",
        "set -euo pipefail",
        f"export PYTHONSAFEPATH=1 PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "commands=(",
        *(f"  {shlex.quote(shlex.join(job.command))}" for job in jobs),
        ")",
        "logs=(",
        *(f"  {shlex.quote(str(job.log))}" for job in jobs),
        ")",
        'log="${logs[$SLURM_ARRAY_TASK_ID]}"',
        'mkdir -p "$(dirname "$log")"',
        'echo "# $(date -Iseconds) on $(hostname): ${commands[$SLURM_ARRAY_TASK_ID]}" >>"$log"',
        'exec srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \\',
        '  bash -c "exec ${commands[$SLURM_ARRAY_TASK_ID]}" >>"$log" 2>&1',
    ]
    return "\n".join(lines) + "\n"
