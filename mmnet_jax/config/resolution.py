"""Configs: defaults, fields from a dictionary, and resolution, which fills and checks every field."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from mmnet_jax.config.fields import FIELDS, READING_FIELDS, is_number
from mmnet_jax.config.values import network_settings
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from mmnet_jax.data.datasets.spec import DatasetSpec
    from mmnet_jax.models.heads.spec import HeadSpec

RETIRED = ("model.confidence_dtype",)
"""Fields of earlier versions, ignored in stored configs."""


def get_config(reading: str = "paper") -> ConfigDict:
    """The defaults (MM-Net on PASCAL-5i at 473 px) in the reading ``paper`` or ``released``."""
    config = ConfigDict()
    for name, field in FIELDS.items():
        section, _, leaf = name.rpartition(".")
        if section and section not in config:
            config[section] = ConfigDict()
        value = placeholder(field.kind) if field.default is None else field.default
        (config[section] if section else config)[leaf] = value
    config.reading = reading
    return config


def from_dict(fields: Mapping[str, Any]) -> ConfigDict:
    """A config with the given fields, nested as in ``config.json``; others keep their defaults.

    Raises:
      UserError: a field is unknown or of the wrong type.
    """
    config = get_config()
    for field, value in _leaves(fields):
        if field not in RETIRED:
            set_field(config, field, tuple(value) if isinstance(value, list) else value)
    return config


def get_field(config: ConfigDict, field: str) -> Any:
    """The value of a field by its full name, such as ``model.memory_size``."""
    for name in field.split("."):
        config = config[name]
    return config


def set_field(config: ConfigDict, field: str, value: Any) -> None:
    """Sets a field by its full name; ``~`` in a path is expanded."""
    if field not in FIELDS:
        near = difflib.get_close_matches(field, FIELDS, n=1)
        raise UserError(f"unknown config field {field}" + (f"; did you mean {near[0]}?" if near else "."))
    if FIELDS[field].path and isinstance(value, str):
        value = os.path.expanduser(value)
    section, _, leaf = field.rpartition(".")
    try:
        (config[section] if section else config)[leaf] = value
    except TypeError as error:
        kind = FIELDS[field].kind.__name__
        raise UserError(f"config field {field} must be of type {kind}, but is {value!r}.") from error


def resolve(config: ConfigDict) -> ConfigDict:
    """A copy of ``config`` with unset fields filled from the reading and the dataset, and every field checked.

    Raises:
      UserError: a field is unknown, of the wrong type, out of range or in conflict with another; names the first.
    """
    resolved = from_dict(config.to_dict())
    for name in ("reading", "model.network"):
        FIELDS[name].check(name, get_field(resolved, name))
    presets = _head(resolved).presets
    for name in READING_FIELDS:
        if get_field(resolved, name) is None:
            set_field(resolved, name, presets.get(name, FIELDS[name].default_in(resolved.reading)))
    if resolved.model.bins is None:
        fixed = resolved.data.image_size == 473
        resolved.model.bins = (60, 30, 15, 8) if fixed else (1.0, 0.5, 0.25, 0.125)
    FIELDS["data.dataset"].check("data.dataset", resolved.data.dataset)
    spec = _dataset(resolved)
    lists = spec.variant_field == "data.split"  # other datasets do not use the field
    resolved.data.split = resolved.data.split or spec.default_variant if lists else None
    resolved.data.folds = resolved.data.folds or spec.default_folds
    resolved.data.min_pixels = spec.min_pixels if resolved.data.min_pixels is None else resolved.data.min_pixels
    resolved.evaluation.protocol = resolved.evaluation.protocol or spec.protocol
    for name, field in FIELDS.items():
        field.check(name, get_field(resolved, name))
    _check_data(resolved)
    _check_network(resolved)
    _check_training(resolved)
    return resolved


def has_memory(config: ConfigDict) -> bool:
    """Whether the network has a memory, which the reconstruction loss needs."""
    return _head(config).has_memory(network_settings(config))


def differences(old: ConfigDict, new: ConfigDict) -> list[str]:
    """A line ``field: old -> new`` for each field that differs between two resolved configs."""
    pairs = {field: (get_field(old, field), get_field(new, field)) for field in sorted(FIELDS)}
    return [f"{field}: {before!r} -> {after!r}" for field, (before, after) in pairs.items() if before != after]


def _head(config: ConfigDict) -> HeadSpec:
    from mmnet_jax.models.heads import HEADS

    return HEADS[config.model.network]


def _dataset(config: ConfigDict) -> DatasetSpec:
    from mmnet_jax.data.datasets import DATASETS

    return DATASETS[config.data.dataset]


def _leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _check_data(config: ConfigDict) -> None:
    from mmnet_jax.evaluation.protocols import find_protocol

    spec = _dataset(config)
    spec.check_fold(config.fold)
    spec.check_variant(spec.variant(get_field(config, spec.variant_field)))
    spec.check_folds(config.data.folds)
    find_protocol(config.evaluation.protocol, spec, config.data.folds)
    scale = config.data.scale
    if len(scale) != 2 or not all(map(is_number, scale)) or not 0 < scale[0] <= scale[1]:
        raise UserError(f"data.scale must be a range of two positive numbers, but is {scale}.")


def _check_network(config: ConfigDict) -> None:
    from mmnet_jax.models.backbones import create_backbone
    from mmnet_jax.models.heads import HEADS
    from mmnet_jax.models.registry import check_backbone

    try:
        create_backbone(config.model.backbone).check_side(config.data.image_size, "data.image_size")
    except ValueError as error:
        raise UserError(str(error)) from error
    check_backbone(network_settings(config))
    bins = config.model.bins
    if not bins or any(not is_number(b) or b <= 0 for b in bins):
        raise UserError(f"model.bins must be positive sizes or fractions, but is {bins}.")
    head = _head(config)
    idle: dict[str, str] = {}
    for other in HEADS.values():
        idle |= dict.fromkeys(other.own_fields, f"model.network = {config.model.network}")
    for field in head.own_fields:
        del idle[field]
    if head.bypass is not None and get_field(config, head.bypass[0]) == head.bypass[1]:
        idle = {field: f"{head.bypass[0]} = {head.bypass[1]}" for field in head.own_fields if field != head.bypass[0]}
    for field, reason in idle.items():
        if get_field(config, field) != FIELDS[field].default_in(config.reading):
            raise UserError(f"{field} has no effect with {reason}; leave it at its default.")
    if not has_memory(config) and config.loss.reconstruction_on != "none":
        raise UserError("loss.reconstruction_on must be none, since this network has no memory to reconstruct with.")
    if config.quality.normalise != "none" and config.quality.module != "qmm":
        raise UserError("quality.normalise applies to eq. 9's sums: it must be none unless quality.module is qmm.")


def _check_training(config: ConfigDict) -> None:
    training, moving = config.training, config.model.batch_norm == "batch"
    if training.select_on == "val" and not _dataset(config).val:
        raise UserError(f"training.select_on must be novel or base: {config.data.dataset} has no val classes.")
    if training.cache_features and config.data.augment:
        raise UserError("training.cache_features needs data.augment = False: only fixed images can be cached.")
    if training.cache_features and moving:
        raise UserError("training.cache_features needs model.batch_norm = frozen: moving statistics change features.")
    if training.batch_size % training.accumulate:
        raise UserError(
            f"training.accumulate = {training.accumulate} does not divide training.batch_size = {training.batch_size}."
        )
    if training.accumulate > 1 and moving:
        raise UserError(
            "training.accumulate must be 1 where model.batch_norm is batch: statistics are those of the whole batch."
        )
