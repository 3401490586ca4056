"""The authors' own checkpoints, MM-Net's and PFENet's: what their tensors tell, and the tensors into our variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import variable_shapes
from mmnet_jax.models.heads import HEADS
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.weights.files import strip_prefix
from mmnet_jax.weights.layouts import IGNORED, backbone_rules
from mmnet_jax.weights.table import CONVOLUTION, DENSE, Rule, port

MEMORY = "part_emb_2_level"
PROJECTIONS = {
    "mmnet": ("down_query_level_2.0.weight", "down_supp_level_2.0.weight"),
    "pfenet": ("down_query.0.weight", "down_supp.0.weight"),
}
"""The query's and the support's, by network."""
UNUSED = (r"alpha\..*", r"beta\..*")
"""Layers that the released network has and never calls."""


def told_by(state_dict: Mapping[str, np.ndarray], source: str = "the state dict") -> dict[str, Any]:
    """Config fields that an authors' checkpoint tells by its tensors' names and shapes.

    A tensor that is missing or misshapen leaves its field untold: ``from_released`` names it.

    Args:
      state_dict: tensors by the authors' names, perhaps each behind ``module.``.
      source: what messages call the checkpoint.

    Returns:
      Values by field, as in ``model.memory_size``. A 3x3 projection that query and support share is the paper's
      reading, any other the released one's.

    Raises:
      UserError: these are no tensors of MM-Net's or PFENet's authors.
    """
    tensors = strip_prefix(state_dict)
    network = _network(tensors, source)
    told: dict[str, Any] = {"model.network": network, "model.backbone": _backbone(tensors, source)}
    query, support = (tensors.get(name) for name in PROJECTIONS[network])
    shared = query is not None and (support is None or np.array_equal(query, support))
    if query is not None and query.ndim == 4:
        told |= {"model.channels": query.shape[0], "model.projection_kernel": query.shape[-1]}
    told["model.projection_shared"] = shared and told.get("model.projection_kernel") == 3
    if network == "pfenet":
        told |= {"loss.reconstruction_on": "none"}
    else:
        told["reading"] = "paper" if told["model.projection_shared"] else "released"
        if MEMORY in tensors and tensors[MEMORY].ndim == 3:
            told["model.memory_size"] = tensors[MEMORY].shape[2]
    return told


def count_bins(state_dict: Mapping[str, np.ndarray]) -> int:
    """How many scales the decoder of an authors' checkpoint has."""
    found = (re.fullmatch(r"(?:init_merge|beta_conv|inner_cls)\.(\d+)\..*", name) for name in strip_prefix(state_dict))
    return max((int(match[1]) + 1 for match in found if match), default=0)


def from_released(
    state_dict: Mapping[str, np.ndarray], config: ConfigDict, source: str = "the checkpoint"
) -> dict[str, Any]:
    """Variables of the network that ``config`` describes, from an authors' checkpoint.

    Args:
      state_dict: tensors by the authors' names, perhaps each behind ``module.``.
      config: as ``get_config`` gives it; its network, backbone, reading and bins must be those of the checkpoint.
      source: what messages call the checkpoint.

    Returns:
      ``{"params": ..., "backbone": ..., "batch_stats": ...}``. The running statistics are the checkpoint's: training
      has moved them from ImageNet's.

    Raises:
      UserError: telling every tensor that is missing, unexpected or of the wrong shape.
    """
    config = resolve(config)
    model = build_model(network_settings(config))
    network = config.model.network
    tensors = strip_prefix(state_dict)
    if MEMORY in tensors and tensors[MEMORY].shape[:1] == (1,):
        tensors[MEMORY] = tensors[MEMORY][0]
    if config.model.projection_shared:
        _drop_equal_twin(tensors, *PROJECTIONS[network])
    params = flax.traverse_util.flatten_dict(jax.eval_shape(lambda: init_head(model, 0)), sep="/")
    targets = {f"params/{path}": leaf.shape for path, leaf in params.items()}
    targets |= {_nested(path): shape for path, shape in variable_shapes(config.model.backbone).items()}
    rules = [
        Rule(rule.pattern, _nested(rule.target), rule.axes)
        for rule in backbone_rules(config.model.backbone, tensors.keys())
    ]
    reading = f" of reading {config.reading}" if network == "mmnet" else ""
    what = f"{source} does not hold {HEADS[network].title}{reading} with {config.model.backbone}"
    flat = port(tensors, head_rules(network, len(model.bins)) + rules, targets, (*IGNORED, *UNUSED), what=what)
    variables = flax.traverse_util.unflatten_dict(flat, sep="/")
    return jax.tree.map(jax.numpy.asarray, {"batch_stats": {}} | variables)  # empty where nothing is normalised


def head_rules(network: str, bins: int) -> list[Rule]:
    """The table of the trained tensors of a network with so many bins."""
    query, support = (re.escape(name.removesuffix(".weight")) for name in PROJECTIONS[network])
    rules = [
        _kernel(query, "projection"),
        _kernel(support, "support_projection"),
        _kernel(r"init_merge\.(\d+)\.0", r"fem/merge_\1"),
        _kernel(r"beta_conv\.(\d+)\.0", r"fem/beta_\1/first"),
        _kernel(r"beta_conv\.(\d+)\.2", r"fem/beta_\1/second"),
        *_classifier(r"inner_cls\.(\d+)", r"fem/classifier_\1"),
        _kernel(r"res1\.0", "fem/merge"),
        _kernel(r"res2\.0", "fem/beta/first"),
        _kernel(r"res2\.2", "fem/beta/second"),
        *_classifier("cls", "fem/classifier"),
    ]
    if network == "mmnet":
        rules.append(Rule(MEMORY, "params/memory", DENSE))
    # the first bin has no coarser one to merge with, so the authors' count starts at our second
    return rules + [_kernel(rf"alpha_conv\.{i - 1}\.0", f"fem/alpha_{i}") for i in range(1, bins)]


def _network(tensors: Mapping[str, np.ndarray], source: str) -> str:
    for network, projections in PROJECTIONS.items():
        if any(name in tensors for name in projections) or (network == "mmnet" and MEMORY in tensors):
            return network
    raise UserError(
        f"{source} is no checkpoint of MM-Net's or PFENet's authors: it has neither {PROJECTIONS['mmnet'][0]} nor "
        f"{PROJECTIONS['pfenet'][0]}; a backbone alone is ported by: python scripts/port_weights.py BACKBONE "
        f"--source={source} --output=FILE.safetensors"
    )


def _backbone(tensors: Mapping[str, np.ndarray], source: str) -> str:
    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in tensors)

    if has(r"layer[1-4]\.\d+\.(conv|bn|downsample)"):
        return ("resnet101" if has(r"layer3\.6\.") else "resnet50") + ("_v2" if has(r"layer0\.[3-9]\.") else "")
    if has(r"layer[1-4]\.\d+\.weight"):
        return "vgg16" if has(r"layer\d\.\d+\.running_mean") else "vgg16_plain"
    raise UserError(
        f"{source} holds no backbone: it has none of the tensors that the authors call layer1 to layer4, so it cannot "
        "be evaluated."
    )


def _kernel(name: str, target: str) -> Rule:
    return Rule(rf"{name}\.weight", rf"params/{target}/kernel", CONVOLUTION)


def _classifier(name: str, target: str) -> list[Rule]:
    return [
        _kernel(rf"{name}\.0", f"{target}/hidden"),
        _kernel(rf"{name}\.3", f"{target}/output"),
        Rule(rf"{name}\.3\.bias", f"params/{target}/output/bias"),
    ]


def _nested(path: str) -> str:
    """A path among a backbone's own variables as one among those of a network that holds it."""
    return path.replace("/", "/backbone/", 1)


def _drop_equal_twin(tensors: dict[str, np.ndarray], query: str, support: str) -> None:
    """A projection shared by query and support may be listed under both names."""
    if query in tensors and support in tensors and np.array_equal(tensors[query], tensors[support]):
        del tensors[support]
