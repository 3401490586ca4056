"""Builds the network that settings describe, and initialises its head."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import create_backbone
from mmnet_jax.models.backbones.backbone import StagedBackbone
from mmnet_jax.models.backbones.frozen import fold_normalisation
from mmnet_jax.models.heads import HEADS
from mmnet_jax.models.heads.spec import NetworkSettings
from mmnet_jax.models.network import Features, FewShotNetwork


def build_model(settings: NetworkSettings) -> FewShotNetwork:
    """The module, without variables; raises a ``UserError`` if its backbone does not support the settings."""
    check_backbone(settings)
    on_cpu, dtype = jax.default_backend() == "cpu", settings.dtype
    if dtype == "auto":
        dtype = "float32" if on_cpu else "bfloat16"
    names = ("channels", "bins", "dropout", "projection_kernel", "projection_shared")
    shared = {name: getattr(settings, name) for name in names} | {
        "backbone": create_backbone(settings.backbone),
        "mask_level3": settings.support_level4 == "masked_twice",
        "batch_statistics": settings.batch_norm == "batch",
        "dtype": jnp.dtype(dtype),
        # a loop over images cannot be split over devices
        "sequential": on_cpu and jax.device_count() == 1,
    }
    return HEADS[settings.head].build(settings, shared)


def check_backbone(settings: NetworkSettings) -> None:
    """Raises a ``UserError`` if the backbone cannot compute level 4 as the settings require."""
    backbone = create_backbone(settings.backbone)
    if settings.support_level4 == "masked_twice" and not isinstance(backbone, StagedBackbone):
        raise UserError(
            f"model.support_level4 must be masked with {settings.backbone}, which does not compute its level 4 from "
            "level 3 alone, but is masked_twice."
        )


def init_head(model: FewShotNetwork, seed: int) -> Any:
    """Initial parameters of the head; their shapes depend only on the backbone's channels, so a small grid suffices."""
    return _init_head(model, jax.random.key(seed))


@functools.partial(jax.jit, static_argnames="model")
def _init_head(model: FewShotNetwork, key: PRNGKeyArray) -> Any:
    """Jitted, so that XLA removes the forward pass and computes the parameters alone."""
    level2, level3, level4 = (model.backbone.channels[level] for level in ("level2", "level3", "level4"))
    mid, high = (jnp.zeros((1, 2, 2, channels), jnp.float32) for channels in (level2 + level3, level4))
    features = Features(mid, high, mid[:, None], high[:, None], jnp.ones((1, 1, 2, 2), jnp.float32))
    return model.init(key, features, (9, 9), method="decode")["params"]


def frozen_variables(model: FewShotNetwork, variables: dict[str, Any]) -> dict[str, Any]:
    """Nests a backbone's variables as a network's, with batch normalisation folded into kernels and biases.

    The folded tensors have ``model.dtype``. Nothing is folded if the network trains with batch statistics.
    """
    if not model.batch_statistics:
        on_gpu = jax.default_backend() == "gpu"
        variables = fold_normalisation(variables, model.backbone.EPSILON, model.dtype, outputs_first=on_gpu)
    nested = {name: {"backbone": jax.device_put(tree)} for name, tree in variables.items() if tree}
    return {"batch_stats": {}} | nested
