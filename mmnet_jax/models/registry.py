"""The network that a configuration describes, and fresh parameters of its head."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray
from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.models.backbones import create_backbone
from mmnet_jax.models.heads.mmnet import MMNet
from mmnet_jax.models.heads.pfenet import PFENet
from mmnet_jax.models.network import Features, FewShotNetwork


def build_model(config: ConfigDict) -> FewShotNetwork:
    """The module alone, without variables."""
    config = resolve(config)
    on_cpu = jax.default_backend() == "cpu"
    dtype = config.model.confidence_dtype
    if dtype == "auto":
        dtype = "float32" if on_cpu else "bfloat16"
    shared: dict[str, Any] = {
        "backbone": create_backbone(config.model.backbone),
        "channels": config.model.channels,
        "bins": tuple(config.model.bins),
        "dropout": config.model.dropout,
        "projection_kernel": config.model.projection_kernel,
        "projection_shared": config.model.projection_shared,
        "support_level4": config.model.support_level4,
        "batch_norm": config.model.batch_norm,
        "confidence_dtype": jnp.dtype(dtype),
        # a loop over images cannot be split over devices
        "one_by_one": on_cpu and jax.device_count() == 1,
    }
    if config.model.network == "pfenet":
        return PFENet(**shared)
    return MMNet(
        **shared,
        memory_size=config.model.memory_size,
        nodes=config.model.nodes,
        levels=config.model.levels,
        cosine_on=config.model.cosine_on,
        propagation=config.model.propagation,
        shot_mask=config.model.shot_mask,
        quality_module=config.quality.module,
        quality_normalise=config.quality.normalise,
        fem_input=config.model.fem_input,
    )


def init_head(model: FewShotNetwork, seed: int) -> Any:
    """Fresh trained parameters. Their shapes depend on the backbone's channels alone, so the smallest grid will do."""
    return _init_head(model, jax.random.key(seed))


@functools.partial(jax.jit, static_argnames="model")
def _init_head(model: FewShotNetwork, key: PRNGKeyArray) -> Any:
    """Jitted, so that only the parameters are computed and not what the network makes of the zeros."""
    level2, level3, level4 = model.backbone.channels
    mid, high = jnp.zeros((1, 2, 2, level2 + level3)), jnp.zeros((1, 2, 2, level4))
    features = Features(mid, high, mid[:, None], high[:, None], jnp.ones((1, 1, 2, 2)))
    return model.init(key, features, (9, 9), method="decode")["params"]


def nest_backbone(variables: dict[str, Any]) -> dict[str, Any]:
    """A backbone's own variables as those of a network that holds it."""
    nested = {name: {"backbone": jax.tree.map(jnp.asarray, tree)} for name, tree in variables.items() if tree}
    return {"batch_stats": {}} | nested  # empty where nothing is normalised
