"""From a configuration to a network and its variables."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.build import build_model, init_head, nest_backbone
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.weights import load_backbone

Variables = dict[str, Any]
"""``params``: what is trained; ``backbone``: what is frozen; ``batch_stats``: the backbone's running statistics."""


def create_model(config: ConfigDict, seed: int = 0) -> tuple[FewShotNetwork, Variables]:
    """The network that ``config`` describes, with a fresh head and a pretrained backbone.

    Args:
      config: as ``get_config`` gives it, resolved or not.
      seed: of the head's parameters.

    Returns:
      The module and its variables, for ``model.apply(variables, episode)``.

    Raises:
      UserError: ``model.weights`` is not set and ``model.random_backbone`` is not asked for, or its file does not fit.
    """
    config = resolve(config)
    model = build_model(config)
    backbone = backbone_variables(config)
    return model, {"params": init_head(model, seed), **nest_backbone(backbone)}


def backbone_variables(config: ConfigDict) -> Variables:
    """The frozen backbone's own variables: ported ones from ``model.weights``, or random ones where asked for."""
    name = config.model.backbone
    if config.model.weights:
        return load_backbone(config.model.weights, name)
    if not config.model.random_backbone:
        raise UserError(
            f"model.weights is not set: give the file that scripts/port_weights.py {name} wrote, "
            "or model.random_backbone=True to run without pretrained weights."
        )
    return random_variables(name)
