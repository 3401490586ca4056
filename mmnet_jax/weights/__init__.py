"""Ports weights of other projects, and reads and writes the ported backbones."""

from mmnet_jax.weights.backbones import (
    DTYPES,
    backbone_variables,
    load_backbone,
    port_backbone,
    port_file,
    save_backbone,
)
from mmnet_jax.weights.checkpoints import read_checkpoint, read_state_dict
from mmnet_jax.weights.files import sha256
from mmnet_jax.weights.layouts import backbone_rules, portable
from mmnet_jax.weights.released import count_bins, from_released, infer_config
from mmnet_jax.weights.table import CONVOLUTION, DENSE, Rule, port

__all__ = ["from_released", "infer_config", "load_backbone", "port_backbone", "read_state_dict", "save_backbone"]
