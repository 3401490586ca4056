"""One process of several that train together: ``python -m tests.training.tiny_job WORKDIR SIGNAL``.

It is sent SIGNAL (or none: ``never``) before its seventh step; then the training is resumed, and evaluated at its end.
"""

import os
import signal
import sys
import time

from mmnet_jax.cli.signals import Stopped
from mmnet_jax.training import head
from mmnet_jax.training.processes import join_processes
from tests.training.tiny_training import tiny_config, train_tiny


def job_config():
    config = tiny_config(steps=12, log_every=1, checkpoint_every=4, evaluate_every=0, evaluation_episodes=0)
    config.evaluation.update(after_training=True, episodes=6)
    return config


def main(path: str, name: str) -> None:
    join_processes()
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
    config = job_config()
    try:
        train_tiny(path, config, lambda line: print(line, flush=True))
    except Stopped as stopped:
        print(stopped, sorted(os.listdir(f"{path}/checkpoints")), flush=True)
    train_tiny(path, config, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
