"""MM-Net, "Learning Meta-class Memory for Few-Shot Semantic Segmentation" (ICCV 2021), in JAX and Flax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmnet_jax.lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmnet_jax import losses, ops, weights
    from mmnet_jax.config import get_config
    from mmnet_jax.create import create_model
    from mmnet_jax.data import prepare_image, prepare_label
    from mmnet_jax.episode import Episode, Prediction, SupportState
    from mmnet_jax.errors import UserError
    from mmnet_jax.models import MMNet, PFENet
    from mmnet_jax.workdir import load_model

__getattr__, __all__ = attach(
    __name__,
    {
        "Episode": "episode",
        "MMNet": "models",
        "PFENet": "models",
        "Prediction": "episode",
        "SupportState": "episode",
        "UserError": "errors",
        "create_model": "create",
        "get_config": "config",
        "load_model": "workdir",
        "losses": "",
        "ops": "",
        "prepare_image": "data",
        "prepare_label": "data",
        "weights": "",
    },
)
