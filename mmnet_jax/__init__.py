"""MM-Net, "Learning Meta-class Memory for Few-Shot Semantic Segmentation" (ICCV 2021), in JAX and Flax."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmnet_jax import losses, ops, weights
    from mmnet_jax.config import get_config
    from mmnet_jax.create import create_model
    from mmnet_jax.data import prepare_image, prepare_label
    from mmnet_jax.episode import Episode, Prediction, SupportState
    from mmnet_jax.errors import UserError
    from mmnet_jax.models import MMNet
    from mmnet_jax.workdir import load_model

_HOMES = {
    "Episode": "episode",
    "MMNet": "models",
    "Prediction": "episode",
    "SupportState": "episode",
    "UserError": "errors",
    "create_model": "create",
    "get_config": "config",
    "load_model": "workdir",
    "prepare_image": "data",
    "prepare_label": "data",
}
_MODULES = ("losses", "ops", "weights")

__all__ = [
    "Episode",
    "MMNet",
    "Prediction",
    "SupportState",
    "UserError",
    "create_model",
    "get_config",
    "load_model",
    "losses",
    "ops",
    "prepare_image",
    "prepare_label",
    "weights",
]


def __getattr__(name: str) -> Any:
    # names are looked up when first used, so that a command's --help does not wait for everything to be imported
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
