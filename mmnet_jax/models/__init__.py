"""Flax modules, which hold the parameters of the functions in ``mmnet_jax.ops``."""

from mmnet_jax.models.decoder import FeatureEnrichment
from mmnet_jax.models.heads.mmnet import MMNet
from mmnet_jax.models.heads.pfenet import PFENet
from mmnet_jax.models.network import Features, FewShotNetwork
from mmnet_jax.models.registry import build_model

__all__ = ["FeatureEnrichment", "Features", "FewShotNetwork", "MMNet", "PFENet", "build_model"]
