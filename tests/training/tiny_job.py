"""One of several processes that train together: ``python -m tests.training.tiny_job WORKDIR SIGNAL``.

It sends itself SIGNAL (none for ``never``) before its fifth step; then it resumes the training, and evaluates it.
"""

import itertools
import os
import signal
import sys
import time

from mmnet_jax.cli.signals import Stopped
from mmnet_jax.training import head
from mmnet_jax.training.processes import join_processes
from tests.training.tiny_training import tiny_config, train_tiny


def job_config():
    config = tiny_config(log_every=1, checkpoint_every=2, evaluate_every=0, evaluation_episodes=0)
    config.evaluation.update(after_training=True, episodes=6)
    return config


def main(path: str, name: str) -> None:
    join_processes()
    open_training, steps = head.open_training, itertools.count(1)

    def open_with_signal(*arguments):
        job = open_training(*arguments)

        def update(state, batch):
            step = next(steps)
            if step == 5 and name != "never":
                os.kill(os.getpid(), getattr(signal, name))
            if step > 2:
                time.sleep(0.3)  # as long as a real step: time to write a checkpoint and to agree on a step
            return job.update(state, batch)

        return job._replace(update=update)

    head.open_training = open_with_signal
    config = job_config()
    try:
        train_tiny(path, config, lambda line: print(line, flush=True))
    except Stopped as stopped:
        print(stopped, sorted(os.listdir(f"{path}/checkpoints")), flush=True)
    train_tiny(path, config, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
