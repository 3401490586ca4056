"""Ports an authors' checkpoint to a workdir for ``evaluate`` and ``predict``."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mmnet_jax import weights
from mmnet_jax.config import FIELDS, from_dict, get_field, has_memory, resolve
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.models.heads import HEADS
from mmnet_jax.storage.files import atomic_folder
from mmnet_jax.workdir.folder import Workdir

# config fields that a checkpoint does not imply, by flag of ``scripts/port_weights.py``
_DATA = "data.dataset", "data.split", "data.coco_masks", "data.folds"
_ASSUMED = *_DATA, "fold", "shots", "data.image_size", "model.bins"
ASSUMED = {field.rpartition(".")[2]: field for field in _ASSUMED}


class Ported(NamedTuple):
    """A ported network."""

    config: ConfigDict
    tensors: int
    epoch: int | None  # the checkpoint's, if the file holds it

    def report(self, workdir: str) -> str:
        """A summary: the inferred fields, the assumptions, and the next command."""
        config = self.config
        memory = f" of reading {config.reading}, {config.model.memory_size} embeddings" if has_memory(config) else ""
        epoch = "" if self.epoch is None else f", epoch {self.epoch}"
        idle = _idle_fields(config.data.dataset)
        flat = {flag: get_field(config, field) for flag, field in ASSUMED.items() if field not in idle}
        assumed = " ".join(f"--{flag}={_text(value)}" for flag, value in flat.items())
        return (
            f"{HEADS[config.model.network].title}{memory}, {config.model.backbone}{epoch}: "
            f"{self.tensors} tensors written to {workdir}\n"
            f"assumed, since the file does not say (if any is wrong, port again with the right flags): {assumed}\n"
            f"next: python -m mmnet_jax.evaluate --workdir={shlex.quote(workdir)} --data_dir=DATA"
        )


def port_released(source: str | Path, workdir: str | Path, given: Mapping[str, Any]) -> Ported:
    """Ports the MM-Net or PFENet in the authors' checkpoint ``source``; ``workdir`` is created atomically.

    The running statistics are the checkpoint's. The epoch is the step of the workdir's only checkpoint.

    Args:
      source: a file for ``weights.read_checkpoint``.
      workdir: a folder, empty or absent.
      given: config fields, as in ``{"data.image_size": 473}``; those that the tensors imply must agree with them.

    Raises:
      UserError: the file is not theirs, tensors are missing or do not fit, a field contradicts them, or the workdir is
        not empty.
      OSError: the workdir cannot be written.
    """
    place = Path(workdir).resolve()
    _check_new_workdir(place)
    state_dict, epoch = weights.read_checkpoint(source)
    config = _configure(state_dict, given, str(source))
    variables = weights.from_released(state_dict, config, str(source))
    origin = {"from": Path(source).name, "sha256": weights.sha256(source), "epoch": epoch}
    with atomic_folder(place) as made:
        Workdir(made).create_ported(config, variables, epoch or 0, origin)
    return Ported(config, len(jax.tree.leaves(variables)), epoch)


def _configure(state_dict: Mapping[str, Any], given: Mapping[str, Any], source: str) -> ConfigDict:
    inferred = weights.infer_config(state_dict, source)
    dataset = given.get("data.dataset", FIELDS["data.dataset"].default)
    for field in _idle_fields(dataset) & given.keys():
        raise UserError(f"{field} = {given[field]} has no effect on {dataset}.")
    for field in inferred.keys() & given.keys():
        if inferred[field] != given[field]:
            raise UserError(f"{source} holds {field} = {inferred[field]}, not {given[field]}.")
    config = resolve(from_dict({**given, **inferred}))
    bins = weights.count_bins(state_dict)
    if bins != len(config.model.bins):
        sizes = ", ".join(map(str, config.model.bins))
        raise UserError(f"{source} holds {bins} bins, not {len(config.model.bins)} ({sizes}); give theirs as --bins.")
    return config


def _idle_fields(dataset: str) -> set[str]:
    """The fields that choose a variant of other datasets."""
    return {spec.variant_field for spec in DATASETS.values()} - {DATASETS[dataset].variant_field}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_new_workdir(workdir: Path) -> None:
    there = next(path for path in (workdir, *workdir.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"workdir {workdir} cannot be made: {there} is a file, not a folder.")
    if there == workdir and any(workdir.iterdir()):
        raise UserError(f"workdir {workdir} is not empty; choose a new one.")
    if not os.access(workdir.parent if there == workdir else there, os.W_OK):
        raise UserError(f"workdir {workdir} cannot be written.")
