"""Flax modules: thin holders of parameters around ``mmnet_jax.ops``."""

from mmnet_jax.models.build import build_model
from mmnet_jax.models.fem import FeatureEnrichment
from mmnet_jax.models.mmnet import MMNet
from mmnet_jax.models.network import Features, FewShotNetwork
from mmnet_jax.models.pfenet import PFENet

__all__ = ["FeatureEnrichment", "Features", "FewShotNetwork", "MMNet", "PFENet", "build_model"]
