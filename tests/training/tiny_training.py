"""A whole training small enough to be interrupted and resumed in a test: the tiny backbone on rectangles at 33 px."""

import contextlib
import functools
import json
import os
import resource
import signal

import jax
import numpy as np

from mmnet_jax import get_config, load_model
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.config import resolve
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.training.stages import train
from mmnet_jax.workdir.folder import Workdir
from tests.evaluation.conftest import make_split


def tiny_config(reading="paper", **training):
    config = get_config(reading)
    config.fold = 1
    config.model.update(backbone="tiny", random_backbone=True, memory_size=7, channels=8, bins=(1.0,))
    config.data.update(image_size=33, min_pixels=50)
    config.training.update(steps=8, log_every=2, checkpoint_every=4, evaluate_every=3, evaluation_episodes=6)
    config.training.update(training)
    return resolve(config)


@functools.cache
def tiny_dataset():
    train, test = make_split("train", [1, 2, 1, 2, 1, 2, 11, 11], 0), make_split("val", [6, 7, 8, 6, 7, 8], 1)
    return Dataset(PASCAL5I, train, test)


def evaluated_config():
    """``tiny_config`` with an evaluation of the best checkpoint at its end."""
    config = tiny_config()
    config.evaluation.update(after_training=True, episodes=6)
    return config


def train_tiny(path, config=None, say=lambda line: None):
    workdir = Workdir(path)
    train(config or tiny_config(), workdir, say, tiny_dataset())
    return workdir


def final_parameters(workdir):
    return jax.tree.map(np.asarray, load_model(workdir.path, "latest")[1]["params"])


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


@contextlib.contextmanager
def no_file_above(size):
    """Simulates a full disk: no file can grow beyond ``size`` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class Crash(Exception):
    pass


def crash(line):
    if line.startswith("step 6/"):
        raise Crash("crash")


def interrupt_at(step):
    """A ``say`` that sends SIGINT as soon as the step is reported."""
    return lambda line: os.kill(os.getpid(), signal.SIGINT) if line.startswith(f"step {step}/") else None


STOPS = {"crash": (crash, Crash, 4), "interrupt": (interrupt_at(2), Stopped, 3)}
"""Ways to stop a training of ``tiny_config``: the ``say`` that does it, its error, and the step to resume at."""


def records(workdir, field):
    """The log's records that have a field."""
    lines = (workdir.log / "metrics.jsonl").read_text().splitlines()
    return [record for line in lines if field in (record := json.loads(line))]
