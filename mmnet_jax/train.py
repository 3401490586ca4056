"""Trains MM-Net: ``python -m mmnet_jax.train --config=configs/pascal_1shot.py --workdir=DIR [--config.fold=2 ...]``."""

from __future__ import annotations

import shlex
import sys

from absl import flags
from ml_collections import config_flags

from mmnet_jax.command import run

FLAGS = flags.FLAGS


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "A file of configs/, whose fields --config.FIELD=VALUE change.")
    flags.DEFINE_string("workdir", None, "Folder of this training; one that holds a checkpoint is resumed.")
    flags.DEFINE_bool(
        "distributed",
        False,
        "This is one process of several: found by jax on Slurm and its like, or told by JAX_COORDINATOR_ADDRESS, "
        "JAX_NUM_PROCESSES and JAX_PROCESS_ID.",
    )


def main() -> None:
    from mmnet_jax.config import resolve
    from mmnet_jax.errors import UserError
    from mmnet_jax.training.distributed import join_processes
    from mmnet_jax.training.interrupts import Stopped
    from mmnet_jax.training.loop import train
    from mmnet_jax.workdir import Workdir

    if FLAGS.config is None:
        raise UserError("--config is missing: give a file of configs/, as in --config=configs/pascal_1shot.py.")
    if not FLAGS.workdir:
        raise UserError("--workdir is missing: give the folder to train in.")
    if FLAGS.distributed:
        join_processes()
    workdir = Workdir(FLAGS.workdir)
    try:
        train(resolve(FLAGS.config), workdir, lambda line: print(line, flush=True))
    except Stopped as stopped:
        print(f"{stopped}\nto go on: python -m mmnet_jax.train {shlex.join(sys.argv[1:])}", flush=True)
        sys.exit(130)
    print(
        f"trained; the checkpoints, log and curve are in {workdir.path}\n"
        f"next: python -m mmnet_jax.evaluate --workdir={shlex.quote(FLAGS.workdir)}"
    )


if __name__ == "__main__":
    define_flags()
    run(main)
