"""Converts parts of a resolved config to the dataclasses that functions take.

Classes are imported inside the functions, so that a command's help starts fast.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from ml_collections import ConfigDict

if TYPE_CHECKING:
    from mmnet_jax.data.transforms.training import Augmentation
    from mmnet_jax.losses import Objective
    from mmnet_jax.models.heads.spec import NetworkSettings
    from mmnet_jax.pretraining.step import Pretraining
    from mmnet_jax.training.state import SGD


class DatasetChoice(NamedTuple):
    """The arguments of ``data.dataset.open_dataset``."""

    name: str
    data_dir: str
    variant: str
    folds: str | None


def dataset_choice(config: ConfigDict) -> DatasetChoice:
    """The prepared dataset of a config, and its folds."""
    from mmnet_jax.data.datasets import DATASETS

    data, spec = config.data, DATASETS[config.data.dataset]
    variant = spec.variant(data[spec.variant_field.removeprefix("data.")])
    return DatasetChoice(data.dataset, data.data_dir, variant, data.folds)


def augmentation(config: ConfigDict) -> Augmentation:
    """The training transform's sizes, ranges and probabilities."""
    from mmnet_jax.data.transforms.training import Augmentation

    return Augmentation(**{field.name: config.data[field.name] for field in dataclasses.fields(Augmentation)})


def network_settings(config: ConfigDict) -> NetworkSettings:
    """The settings of ``build_model``."""
    from mmnet_jax.models.heads.spec import NetworkSettings

    known = {field.name for field in dataclasses.fields(NetworkSettings)}.intersection(config.model.keys())
    return NetworkSettings(
        head=config.model.network,
        quality=config.quality.module,
        quality_normalise=config.quality.normalise,
        **{name: config.model[name] for name in known},
    )


def objective(config: ConfigDict) -> Objective:
    """The weights and choices of ``losses.compute_losses``."""
    from mmnet_jax.losses import Objective

    return Objective(**config.loss.to_dict())


def sgd(config: ConfigDict, steps: int) -> SGD:
    """The optimiser of a training of ``steps`` steps."""
    from mmnet_jax.training.state import SGD

    return SGD(**config.optimizer.to_dict(), steps=steps)


def pretraining(config: ConfigDict) -> Pretraining:
    """The optimiser and the loss of a pretraining."""
    from mmnet_jax.pretraining.step import Pretraining

    return Pretraining(**{field.name: config.pretraining[field.name] for field in dataclasses.fields(Pretraining)})
