"""MM-Net's own released checkpoints: their tensors into our variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from ml_collections import ConfigDict

from mmnet_jax.config import resolve
from mmnet_jax.models.backbones import variable_shapes
from mmnet_jax.models.build import build_model, init_head
from mmnet_jax.weights.files import strip_prefix
from mmnet_jax.weights.layouts import IGNORED, backbone_rules
from mmnet_jax.weights.table import CONVOLUTION, DENSE, Rule, port

MEMORY = "part_emb_2_level"
UNUSED = (r"alpha\..*", r"beta\..*")
"""Layers that the released network has and never calls."""


def from_released(state_dict: Mapping[str, np.ndarray], config: ConfigDict) -> dict[str, Any]:
    """Variables of the network that ``config`` describes, from an authors' checkpoint.

    Args:
      state_dict: tensors by the authors' names, perhaps each behind ``module.``.
      config: as ``get_config`` gives it; its backbone, reading and bins must be those of the checkpoint.

    Returns:
      ``{"params": ..., "backbone": ..., "batch_stats": ...}``. The running statistics are the checkpoint's: training
      has moved them from ImageNet's.

    Raises:
      UserError: telling every tensor that is missing, unexpected or of the wrong shape.
    """
    config = resolve(config)
    model = build_model(config)
    tensors = strip_prefix(state_dict)
    if MEMORY in tensors and tensors[MEMORY].shape[:1] == (1,):
        tensors[MEMORY] = tensors[MEMORY][0]
    if model.projection_shared:
        _drop_equal_twin(tensors)
    params = flax.traverse_util.flatten_dict(jax.eval_shape(lambda: init_head(model, 0)), sep="/")
    targets = {f"params/{path}": leaf.shape for path, leaf in params.items()}
    targets |= {_nested(path): shape for path, shape in variable_shapes(config.model.backbone).items()}
    rules = [
        Rule(rule.pattern, _nested(rule.target), rule.axes)
        for rule in backbone_rules(config.model.backbone, tensors.keys())
    ]
    what = f"the checkpoint does not hold an MM-Net of reading {config.reading} with {config.model.backbone}"
    flat = port(tensors, head_rules(len(model.bins)) + rules, targets, (*IGNORED, *UNUSED), what=what)
    return jax.tree.map(jax.numpy.asarray, flax.traverse_util.unflatten_dict(flat, sep="/"))


def head_rules(bins: int) -> list[Rule]:
    """The table of the trained tensors of a network with so many bins."""
    rules = [
        Rule(MEMORY, "params/memory", DENSE),
        _kernel(r"down_query_level_2\.0", "projection"),
        _kernel(r"down_supp_level_2\.0", "support_projection"),
        _kernel(r"init_merge\.(\d+)\.0", r"fem/merge_\1"),
        _kernel(r"beta_conv\.(\d+)\.0", r"fem/beta_\1/first"),
        _kernel(r"beta_conv\.(\d+)\.2", r"fem/beta_\1/second"),
        *_classifier(r"inner_cls\.(\d+)", r"fem/classifier_\1"),
        _kernel(r"res1\.0", "fem/merge"),
        _kernel(r"res2\.0", "fem/beta/first"),
        _kernel(r"res2\.2", "fem/beta/second"),
        *_classifier("cls", "fem/classifier"),
    ]
    # the first bin has no coarser one to merge with, so the authors' count starts at our second
    return rules + [_kernel(rf"alpha_conv\.{i - 1}\.0", f"fem/alpha_{i}") for i in range(1, bins)]


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


def _drop_equal_twin(tensors: dict[str, np.ndarray]) -> None:
    """A projection shared by query and support may be listed under both names."""
    query, support = (f"down_{side}_level_2.0.weight" for side in ("query", "supp"))
    if query in tensors and support in tensors and np.array_equal(tensors[query], tensors[support]):
        del tensors[support]
