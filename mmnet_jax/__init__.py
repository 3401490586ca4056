"""MM-Net, "Learning Meta-class Memory for Few-Shot Semantic Segmentation" (ICCV 2021), in JAX and Flax."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from mmnet_jax import losses, ops, weights
    from mmnet_jax.api import create_model, load_model, open_dataset, prepare_image, prepare_label
    from mmnet_jax.config import get_config
    from mmnet_jax.episode import Episode, Prediction, SupportState
    from mmnet_jax.errors import UserError
    from mmnet_jax.models import MMNet, PFENet

_MODULES = {
    "api": ("create_model", "load_model", "open_dataset", "prepare_image", "prepare_label"),
    "config": ("get_config",),
    "episode": ("Episode", "Prediction", "SupportState"),
    "errors": ("UserError",),
    "models": ("MMNet", "PFENet"),
}
__all__ = ["losses", "ops", "weights", *(name for names in _MODULES.values() for name in names)]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that a command's --help does not wait for jax."""
    if name in ("losses", "ops", "weights"):
        return import_module(f"{__name__}.{name}")
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
