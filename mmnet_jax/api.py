"""What users import: networks from configs and workdirs, datasets, and images and labels as a network takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.config.values import dataset_choice, network_settings
from mmnet_jax.data.images import ImageSource
from mmnet_jax.data.transforms import evaluation
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from mmnet_jax.weights import backbone_variables

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Dataset

Variables = dict[str, Any]
"""``params``: what is trained; ``backbone``: what is frozen; ``batch_stats``: the backbone's running statistics."""


def create_model(config: ConfigDict, seed: int = 0) -> tuple[FewShotNetwork, Variables]:
    """The network that ``config`` (resolved or not) describes, with a fresh head and a pretrained backbone.

    Gives the module and its variables, for ``model.apply(variables, episode)``; ``seed`` is of the head's parameters.

    Raises:
      UserError: ``model.weights`` is not set and ``model.random_backbone`` is not asked for, or its file does not fit.
    """
    config = resolve(config)
    model = build_model(network_settings(config))
    backbone = backbone_variables(config.model.backbone, config.model.weights, config.model.random_backbone)
    return model, {"params": init_head(model, seed), **frozen_variables(model, backbone)}


def load_model(workdir: str | Path, checkpoint: str | int = "best") -> tuple[FewShotNetwork, Variables, ConfigDict]:
    """A trained network: the module, its variables, and the config it was trained with.

    ``checkpoint`` is ``"best"`` by the mIoU measured while training, ``"latest"``, or a step.

    Raises:
      UserError: the folder is not a workdir, or holds no such checkpoint.
    """
    from mmnet_jax.workdir.folder import load_step

    model, variables, config, _ = load_step(workdir, checkpoint)
    return model, variables, config


def open_dataset(config: ConfigDict) -> Dataset:
    """The prepared dataset that ``config`` (resolved or not) names.

    Raises:
      UserError: it is not prepared (the sentence holds the command that prepares it), or it is damaged.
    """
    from mmnet_jax.data.dataset import open_dataset

    return open_dataset(*dataset_choice(resolve(config)))


def prepare_image(source: ImageSource, config: ConfigDict) -> Float[Array, "s s 3"]:
    """An image of any size and kind as the network takes it, by the test transform, at ``data.image_size``.

    ``source`` is a path, a PIL image, or a uint8 array ``[h, w]``, ``[h, w, 3]`` or ``[h, w, 4]``. Files and PIL images
    are turned as their EXIF orientation says.

    Raises:
      UserError: naming the file that is missing, broken or no image.
    """
    return evaluation.prepare_image(source, config.data.image_size)


def prepare_label(mask: np.ndarray, config: ConfigDict) -> Int[Array, "s s"]:
    """The label of such an image: 1 for the class, 0 for the rest, 255 for ignore, at ``data.image_size``.

    ``mask`` is ``[h, w]``, bool or integers 0, 1 and 255, of the image's size; ``mmnet_jax.data.masks.read_mask`` makes
    one of a mask's file of any kind.

    Raises:
      UserError: it has another number of axes, holds other values, or has no foreground: a mask of 0 and 255 is one of
        pixels to ignore, and ``mask > 0`` makes it one of the class.
    """
    return evaluation.prepare_label(mask, config.data.image_size)
