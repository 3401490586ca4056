"""A pretraining small enough to be interrupted and resumed in a test."""

import functools

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.pretraining.loop import pretrain
from mmnet_jax.workdir.folder import Workdir
from tests.evaluation.conftest import make_split

CLASSES = [1, 3, 5, 11]  # all of them base classes of fold 1


def tiny_config(**pretraining):
    config = get_config()
    config.fold = 1
    config.model.backbone = "tiny"
    config.data.min_pixels = 50
    config.pretraining.update(dataset="crops", image_size=32, steps=8, batch_size=8, log_every=2, checkpoint_every=4)
    config.pretraining.update(pretraining)
    return resolve(config)


@functools.cache
def tiny_dataset():
    return Dataset(PASCAL5I, make_split("train", 4 * CLASSES, 0), make_split("val", CLASSES, 1))


def pretrain_tiny(path, config=None, say=lambda line: None):
    workdir = Workdir(path)
    pretrain(config or tiny_config(), workdir, say, tiny_dataset())
    return workdir
