"""One process of several that train together: ``python -m tests.training.tiny_job WORKDIR SIGNAL``.

It is sent SIGNAL (or none: ``never``) before its seventh step; then the training is resumed, and evaluated at its end.
"""

import os
import signal
import sys
import time

from mmnet_jax.cli.signals import Stopped
from mmnet_jax.train import _join_processes
from mmnet_jax.training import head
from tests.training.tiny_training import tiny_config, train_tiny

CONFIG = {"steps": 12, "log_every": 1, "checkpoint_every": 12, "evaluate_every": 0, "evaluation_episodes": 0}


def main(path: str, name: str) -> None:
    _join_processes()
    run_steps, taken = head.run_steps, 0

    def run_and_signal(what, state, update, *arguments, **keywords):
        def counted(state, batch):
            nonlocal taken
            taken += 1
            if taken == 7 and name != "never":
                os.kill(os.getpid(), getattr(signal, name))
            if 7 <= taken <= 10:
                time.sleep(0.3)  # steps take a moment elsewhere, too, in which processes agree
            return update(state, batch)

        return run_steps(what, state, counted, *arguments, **keywords)

    head.run_steps = run_and_signal
    config = tiny_config(**CONFIG)
    config.evaluation.update(after_training=True, episodes=6)
    try:
        train_tiny(path, config, lambda line: print(line, flush=True))
    except Stopped as stopped:
        print(stopped, sorted(os.listdir(f"{path}/checkpoints")), flush=True)
    train_tiny(path, config, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
