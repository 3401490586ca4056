"""MM-Net's equations as plain functions of channels-last float32 arrays, without parameters."""

from mmnet_jax.ops.average import masked_average
from mmnet_jax.ops.confidence import foreground_confidence
from mmnet_jax.ops.memory import memory_activations, memory_logits, reconstruction_loss
from mmnet_jax.ops.propagation import Propagation, fuse_shots, propagate
from mmnet_jax.ops.resize import adaptive_average_pool, resize_bilinear
from mmnet_jax.ops.segmentation import segmentation_loss

__all__ = [
    "Propagation",
    "adaptive_average_pool",
    "foreground_confidence",
    "fuse_shots",
    "masked_average",
    "memory_activations",
    "memory_logits",
    "propagate",
    "reconstruction_loss",
    "resize_bilinear",
    "segmentation_loss",
]
