"""A whole training small enough to be killed and resumed in a test.

As a program: ``python -m tests.training.tiny_training WORKDIR LINE`` trains there, prints the loop's lines, and
waits to be killed after one that starts with LINE. Where JAX_COORDINATOR_ADDRESS is set, it is one process of several,
which evaluate at the end.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.evaluation import checkpoint as scoring
from mmnet_jax.training import stages
from mmnet_jax.training.distributed import join_processes
from mmnet_jax.workdir.folder import Workdir
from tests.evaluation.conftest import SIDE, make_split


def tiny_config(**training):
    config = get_config()
    config.fold = 1
    config.model.backbone = "tiny"
    config.model.random_backbone = True
    config.model.memory_size = 7
    config.model.channels = 16
    config.data.image_size = 33
    config.data.min_pixels = 50
    config.training.update(
        {"steps": 8, "log_every": 2, "checkpoint_every": 4, "evaluate_every": 4, "evaluation_episodes": 6, **training}
    )
    return resolve(config)


def tiny_dataset():
    return Dataset(
        spec=PASCAL5I,
        max_side=SIDE,
        train=make_split("train", [1, 2, 1, 2, 1, 2, 11, 11], 0),
        test=make_split("val", [6, 7, 8, 6, 7, 8], 1),
    )


def tiny_parts():
    """The patches under which the library trains on the tiny dataset."""
    return (
        mock.patch.object(stages, "open_dataset", lambda *choice: tiny_dataset()),
        mock.patch.object(scoring, "open_dataset", lambda *choice: tiny_dataset()),
    )


@contextmanager
def tiny_library():
    """The library under ``tiny_parts``, and nothing of them kept afterwards."""
    with ExitStack() as stack:
        for patch in tiny_parts():
            stack.enter_context(patch)
        yield


if __name__ == "__main__":
    config = tiny_config()
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        join_processes()
        config.evaluation.update(after_training=True, episodes=6)
    for patch in tiny_parts():
        patch.start()

    def say(line: str) -> None:
        print(line, flush=True)
        if line.startswith(sys.argv[2]):
            time.sleep(600)

    stages.train(config, Workdir(Path(sys.argv[1])), say)
