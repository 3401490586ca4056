"""Flax modules: thin holders of parameters around ``mmnet_jax.ops``."""

from mmnet_jax.models.build import build_model
from mmnet_jax.models.fem import FeatureEnrichment
from mmnet_jax.models.mmnet import Features, MMNet

__all__ = ["FeatureEnrichment", "Features", "MMNet", "build_model"]
