"""A pretraining small enough to be killed and resumed in a test.

As a program: ``python -m tests.pretraining.tiny_pretraining LINE --workdir=DIR`` is the command on it; it waits to be
killed after it has said a line that starts with LINE.
"""

from __future__ import annotations

import sys
import time
from unittest import mock

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from tests.evaluation.conftest import SIDE, make_split

CLASSES = [1, 3, 5, 11]  # all of them base classes of fold 1


def tiny_config(**pretraining):
    config = get_config()
    config.fold = 1
    config.model.backbone = "tiny"
    config.data.min_pixels = 50
    config.pretraining.update(
        {
            "dataset": "crops",
            "image_size": 32,
            "steps": 8,
            "batch_size": 8,
            "log_every": 2,
            "checkpoint_every": 4,
            **pretraining,
        }
    )
    return resolve(config)


def tiny_dataset():
    return Dataset(PASCAL5I, make_split("train", 4 * CLASSES, 0), make_split("val", CLASSES, 1), SIDE)


def tiny_parts():
    """The patches under which the library pretrains the tiny network on the tiny dataset."""
    return (mock.patch("mmnet_jax.pretraining.loop.open_dataset", lambda *choice: tiny_dataset()),)


if __name__ == "__main__":
    from mmnet_jax import pretrain
    from mmnet_jax.cli.command import run

    line = sys.argv.pop(1)
    for patch in tiny_parts():
        patch.start()

    def say(text: str) -> None:
        print(text, flush=True)
        if text.startswith(line):
            time.sleep(600)

    pretrain._say = say
    pretrain.define_flags()
    sys.argv.append("--config=tests/pretraining/tiny_pretraining_config.py")
    run(pretrain.main)
