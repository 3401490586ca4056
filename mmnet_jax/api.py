"""Public API: networks from configs and workdirs, datasets, and a network's input images and labels."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.config.values import dataset_choice, network_settings
from mmnet_jax.data import dataset
from mmnet_jax.data.images import ImageSource
from mmnet_jax.data.transforms import evaluation
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from mmnet_jax.weights import backbone_variables
from mmnet_jax.workdir.folder import load_step

Variables = dict[str, Any]
"""``params``: trained; ``backbone``: frozen; ``batch_stats``: the backbone's running statistics."""


def create_model(config: ConfigDict, seed: int = 0) -> tuple[FewShotNetwork, Variables]:
    """Creates the network of a config, resolved or not, with a randomly initialised head and a pretrained backbone.

    Returns the module and its variables, for ``model.apply(variables, episode)``; ``seed`` initialises the head.

    Raises:
      UserError: neither ``model.weights`` nor ``model.random_backbone`` is set, or the file does not fit the backbone.
    """
    config = resolve(config)
    model = build_model(network_settings(config))
    backbone = backbone_variables(config.model.backbone, config.model.weights, config.model.random_backbone)
    return model, {"params": init_head(model, seed), **frozen_variables(model, backbone)}


def load_model(workdir: str | Path, checkpoint: str | int = "best") -> tuple[FewShotNetwork, Variables, ConfigDict]:
    """Loads a trained network: the module, its variables, and its config.

    ``checkpoint`` is ``"best"`` by the mIoU during training, ``"latest"``, or a step.

    Raises:
      UserError: the folder is not a workdir, or holds no such checkpoint.
    """
    model, variables, config, _ = load_step(workdir, checkpoint)
    return model, variables, config


def open_dataset(config: ConfigDict) -> dataset.Dataset:
    """Opens the prepared dataset of a config, resolved or not.

    Raises:
      UserError: it is not prepared, with the command to prepare it, or it is damaged.
    """
    return dataset.open_dataset(*dataset_choice(resolve(config)))


def prepare_image(source: ImageSource, config: ConfigDict) -> Float[Array, "s s 3"]:
    """Applies the test transform to an image of any size: fitted to ``data.image_size`` and normalised.

    ``source`` is a path, a PIL image, or a uint8 array ``[h, w]``, ``[h, w, 3]`` or ``[h, w, 4]``. Files and PIL images
    are rotated by their EXIF orientation.

    Raises:
      UserError: the file is missing, broken or not an image.
    """
    return evaluation.prepare_image(source, config.data.image_size)


def prepare_label(mask: np.ndarray, config: ConfigDict) -> Int[Array, "s s"]:
    """Applies the test transform to an image's mask; gives 1 for the class, 0 for the rest and 255 to ignore.

    ``mask`` is ``[h, w]`` of the image's size, bool or the integers 0, 1 and 255; ``mmnet_jax.data.masks.read_mask``
    reads it from any mask file.

    Raises:
      UserError: it has another number of axes, other values, or no foreground (``mask > 0`` converts 0 and 255).
    """
    return evaluation.prepare_label(mask, config.data.image_size)
