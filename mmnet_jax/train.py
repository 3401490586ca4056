"""Trains a network: ``python -m mmnet_jax.train --config=configs/NAME.py --workdir=DIR [--config.fold=2 ...]``."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from mmnet_jax.cli.command import INTERRUPTED, run
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.cli.config_flag import define_config_flag
from mmnet_jax.cli.progress import Printer
from mmnet_jax.storage.files import REFUSED

FLAGS = flags.FLAGS
_say = Printer()


def define_flags() -> None:
    define_config_flag()
    define_cache_flag()
    flags.DEFINE_string("workdir", None, "Folder of this training; one that holds a checkpoint is resumed.")
    text = "Train with several processes, found by jax on clusters such as Slurm, or by JAX_COORDINATOR_ADDRESS, "
    flags.DEFINE_bool("distributed", False, text + "JAX_NUM_PROCESSES and JAX_PROCESS_ID.")


def main() -> None:
    from mmnet_jax.errors import UserError

    if FLAGS.config is None:
        raise UserError("--config is missing: give a file of configs/, as in --config=configs/pascal_1shot.py.")
    if not FLAGS.workdir:
        raise UserError("--workdir is missing: give the folder to train in.")
    start = time.perf_counter()
    try:
        from mmnet_jax.cli.signals import Stopped
        from mmnet_jax.config import resolve
        from mmnet_jax.training.stages import train
        from mmnet_jax.workdir.folder import Workdir

        if FLAGS.distributed:
            from mmnet_jax.training.processes import join_processes

            join_processes()
        try:
            scored = train(resolve(FLAGS.config), Workdir(FLAGS.workdir), _say)
        except Stopped as stopped:
            _end_interrupted(str(stopped))
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            place = error.filename or FLAGS.workdir
            raise UserError(
                f"{place} cannot be written or read: {error.strerror}; earlier checkpoints are intact, and the same "
                "command resumes from them."
            ) from error
    except KeyboardInterrupt:
        _end_interrupted("interrupted.")
    import jax
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("trained")  # the first process writes the last files
    if jax.process_index() == 0:
        _say(_closing(scored, time.perf_counter() - start))


def _end_interrupted(what: str) -> NoReturn:
    print(f"{what}\nto resume: python -m mmnet_jax.train {shlex.join(sys.argv[1:])}", flush=True)
    sys.exit(INTERRUPTED)


def _closing(scored: Any, seconds: float) -> str:
    """The closing lines of a training: duration, result, files and the next command."""
    from mmnet_jax.cli.progress import duration
    from mmnet_jax.evaluation.report import MASK, QUERY, SUPPORT, report
    from mmnet_jax.training.stages import EXAMPLE

    workdir = shlex.quote(FLAGS.workdir)
    if scored is None:
        return (
            f"trained in {duration(seconds)}; checkpoints, log and curves are in {FLAGS.workdir}\n"
            f"next: python -m mmnet_jax.evaluate --workdir={workdir}"
        )
    folder = Path(FLAGS.workdir)
    result, *others = (folder / file.relative_to(folder.absolute()) for file in scored.files)
    figures = " and ".join(str(file) for file in others if file.name.endswith((".sheet.png", ".html")))
    results = folder / "results"
    example, found = shlex.quote(str(results / EXAMPLE)), shlex.quote(str(results / "found"))
    head = f"done in {duration(seconds)}" if scored.fresh else "already done"
    return (
        f"\n{head}: few-shot segmentation of held-out classes, 95% intervals in brackets\n"
        f"{report(scored.summary)}\nresult:  {result}\nfigures: {figures}\n"
        f"next, predict one of these episodes: python -m mmnet_jax.predict --workdir={workdir} "
        f"--support={example}/{SUPPORT} --mask={example}/{MASK} --query={example}/{QUERY} --output={found}"
    )


if __name__ == "__main__":
    define_flags()
    run(main)
