"""Checkpoints of MM-Net's and PFENet's authors: infers the config and ports the tensors."""

import re
import shlex
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
from mmnet_jax.weights.checkpoints import strip_prefixes
from mmnet_jax.weights.layouts import IGNORED, backbone_rules
from mmnet_jax.weights.table import CONVOLUTION, DENSE, Rule, port

MEMORY = "part_emb_2_level"
PROJECTIONS = {"mmnet": ("down_query_level_2.0", "down_supp_level_2.0"), "pfenet": ("down_query.0", "down_supp.0")}
"""Names of the query's and the support's projection, by head."""
OTHER_METHODS = {"BAM": r"(learner_base|gram_merge)\..*", "HSNet": r"hpn_learner\..*"}
"""Other methods with some of the same tensor names, and patterns of names that only they have."""
UNUSED = (r"alpha\..*", r"beta\..*")  # layers that the released network never calls


def infer_config(state_dict: Mapping[str, np.ndarray], source: str = "the state dict") -> dict[str, Any]:
    """Config fields that the names and shapes of an authors' checkpoint imply, such as ``model.memory_size``.

    A 3x3 projection shared by query and support implies the reading ``paper``, any other ``released``. A field whose
    tensor is missing or misshapen is left out; ``from_released`` reports the tensor.

    Raises:
      UserError: the tensors are not those of MM-Net's or PFENet's authors.
    """
    tensors = strip_prefixes(state_dict)
    head = infer_head(tensors, source)
    if head is None:
        mmnet, pfenet = (f"{projections[0]}.weight" for projections in PROJECTIONS.values())
        raise UserError(
            f"{source} is not a checkpoint of MM-Net's or PFENet's authors: it has neither {mmnet} nor {pfenet}; a "
            "backbone alone is ported by: python scripts/port_weights.py BACKBONE "
            f"--source={shlex.quote(source)} --output=FILE.safetensors"
        )
    inferred: dict[str, Any] = {"model.network": head, "model.backbone": _infer_backbone(tensors, source)}
    query, support = (tensors.get(f"{name}.weight") for name in PROJECTIONS[head])
    shared = query is not None and (support is None or np.array_equal(query, support))
    if query is not None and query.ndim == 4:
        inferred |= {"model.channels": query.shape[0], "model.projection_kernel": query.shape[-1]}
    inferred["model.projection_shared"] = shared and inferred.get("model.projection_kernel") == 3
    if head == "pfenet":
        return inferred | {"loss.reconstruction_on": "none"}
    if MEMORY in tensors and tensors[MEMORY].ndim == 3:
        inferred["model.memory_size"] = tensors[MEMORY].shape[2]
    return inferred | {"reading": "paper" if inferred["model.projection_shared"] else "released"}


def infer_head(state_dict: Mapping[str, np.ndarray], source: str) -> str | None:
    """The head of an authors' checkpoint: ``mmnet`` or ``pfenet``; None if it is neither's.

    Raises:
      UserError: it is another method's checkpoint.
    """
    tensors = strip_prefixes(state_dict)
    for method, pattern in OTHER_METHODS.items():
        if name := next((name for name in tensors if re.fullmatch(pattern, name)), None):
            raise UserError(
                f"{source} is a checkpoint of {method} or a method built on it (it has {name}); the whole networks "
                "that can be ported are MM-Net and PFENet, by their authors' code."
            )
    for head, projections in PROJECTIONS.items():
        if any(f"{name}.weight" in tensors for name in projections) or (head == "mmnet" and MEMORY in tensors):
            return head
    return None


def count_bins(state_dict: Mapping[str, np.ndarray]) -> int:
    """Number of scales of the decoder in an authors' checkpoint."""
    found = (
        re.fullmatch(r"(?:init_merge|beta_conv|inner_cls)\.(\d+)\..*", name) for name in strip_prefixes(state_dict)
    )
    return max((int(match[1]) + 1 for match in found if match), default=0)


def from_released(
    state_dict: Mapping[str, np.ndarray], config: ConfigDict, source: str = "the checkpoint"
) -> dict[str, Any]:
    """Variables of the network that ``config`` describes, from an authors' checkpoint: ``params``, ``backbone`` and
    ``batch_stats`` (the checkpoint's: training has moved them from ImageNet's).

    ``state_dict`` holds NumPy arrays by the authors' names, with or without ``module.``; the config's network,
    backbone, reading and bins must be those of the checkpoint.

    Raises:
      UserError: tensors are missing, unexpected or of the wrong shape; the message lists all of them.
    """
    config = resolve(config)
    settings, reading = network_settings(config), config.reading
    tensors = strip_prefixes(state_dict)
    if MEMORY in tensors and tensors[MEMORY].shape[:1] == (1,):
        tensors[MEMORY] = tensors[MEMORY][0]
    query, support = (tensors.get(f"{name}.weight") for name in PROJECTIONS[settings.head])
    if settings.projection_shared and query is not None and support is not None and np.array_equal(query, support):
        del tensors[f"{PROJECTIONS[settings.head][1]}.weight"]  # both names of the one projection
    model = build_model(settings)
    params = flax.traverse_util.flatten_dict(jax.eval_shape(lambda: init_head(model, 0)), sep="/")
    targets = {f"params/{path}": leaf.shape for path, leaf in params.items()}
    targets |= {_nested(path): shape for path, shape in variable_shapes(settings.backbone).items()}
    backbone = backbone_rules(settings.backbone, tensors.keys())
    rules = _head_rules(settings.head, len(settings.bins)) + [r._replace(target=_nested(r.target)) for r in backbone]
    reading = f" of reading {reading}" if settings.head == "mmnet" else ""
    what = f"{source} does not hold {HEADS[settings.head].title}{reading} with {settings.backbone}"
    variables = flax.traverse_util.unflatten_dict(port(tensors, rules, targets, (*IGNORED, *UNUSED), what), sep="/")
    return jax.tree.map(jax.numpy.asarray, {"batch_stats": {}} | variables)  # empty where nothing is normalised


def _head_rules(head: str, bins: int) -> list[Rule]:
    """The table of the trained tensors of a head with ``bins`` bins."""
    query, support = map(re.escape, PROJECTIONS[head])
    kernels = [
        (query, "projection"),
        (support, "support_projection"),
        (r"init_merge\.(\d+)\.0", r"fem/merge_\1"),
        (r"beta_conv\.(\d+)\.0", r"fem/beta_\1/first"),
        (r"beta_conv\.(\d+)\.2", r"fem/beta_\1/second"),
        (r"inner_cls\.(\d+)\.0", r"fem/classifier_\1/hidden"),
        (r"inner_cls\.(\d+)\.3", r"fem/classifier_\1/output"),
        (r"res1\.0", "fem/merge"),
        (r"res2\.0", "fem/beta/first"),
        (r"res2\.2", "fem/beta/second"),
        (r"cls\.0", "fem/classifier/hidden"),
        (r"cls\.3", "fem/classifier/output"),
        # the first bin has no coarser one to merge with: the authors count from the second
        *((rf"alpha_conv\.{i - 1}\.0", f"fem/alpha_{i}") for i in range(1, bins)),
    ]
    return [
        *(Rule(rf"{name}\.weight", f"params/{target}/kernel", CONVOLUTION) for name, target in kernels),
        Rule(r"inner_cls\.(\d+)\.3\.bias", r"params/fem/classifier_\1/output/bias"),
        Rule(r"cls\.3\.bias", "params/fem/classifier/output/bias"),
        *([Rule(MEMORY, "params/memory", DENSE)] if head == "mmnet" else []),
    ]


def _infer_backbone(tensors: Mapping[str, np.ndarray], source: str) -> str:
    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in tensors)

    if has(r"layer[1-4]\.\d+\.(conv|bn|downsample)"):
        return ("resnet101" if has(r"layer3\.6\.") else "resnet50") + ("_v2" if has(r"layer0\.[3-9]\.") else "")
    if has(r"layer[1-4]\.\d+\.weight"):
        return "vgg16" if has(r"layer\d\.\d+\.running_mean") else "vgg16_plain"
    missing = "it has none of the tensors that the authors call layer1 to layer4, so it cannot be evaluated."
    raise UserError(f"{source} holds no backbone: {missing}")


def _nested(path: str) -> str:
    """A path in a backbone's variables as a path in those of the network around it."""
    return path.replace("/", "/backbone/", 1)
