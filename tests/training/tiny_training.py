"""A whole training small enough to be interrupted and resumed in a test: the tiny backbone on rectangles at 33 px."""

import functools
import json

import jax
import numpy as np

from mmnet_jax import get_config, load_model
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
    config.training.update(steps=8, log_every=2, checkpoint_every=4, evaluate_every=4, evaluation_episodes=6)
    config.training.update(training)
    return resolve(config)


@functools.cache
def tiny_dataset():
    return Dataset(
        spec=PASCAL5I,
        train=make_split("train", [1, 2, 1, 2, 1, 2, 11, 11], 0),
        test=make_split("val", [6, 7, 8, 6, 7, 8], 1),
    )


def train_tiny(path, config=None, say=lambda line: None):
    """A training in a workdir, of which it returns the workdir."""
    workdir = Workdir(path)
    train(config or tiny_config(), workdir, say, tiny_dataset())
    return workdir


def final_parameters(workdir):
    return jax.tree.map(np.asarray, load_model(workdir.path, "latest")[1]["params"])


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def records(workdir, field):
    """The log's records that hold a field."""
    lines = (workdir.log / "metrics.jsonl").read_text().splitlines()
    return [record for line in lines if field in (record := json.loads(line))]
