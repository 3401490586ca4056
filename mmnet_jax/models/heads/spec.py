"""The settings from which a network is built, and the declaration of a head."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mmnet_jax.models.network import FewShotNetwork


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """The config's ``model`` and ``quality`` sections as values (see ``config/fields.py``)."""

    head: str  # as in HEADS
    backbone: str  # as in BACKBONES
    channels: int
    bins: tuple[float, ...]
    dropout: float
    projection_kernel: int
    projection_shared: bool
    support_level4: str
    batch_norm: str
    dtype: str
    memory_size: int
    nodes: str
    levels: str
    cosine_on: str
    propagation: str
    shot_mask: str
    quality: str
    quality_normalise: str
    fem_input: str


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """An entry of the registry ``HEADS``; ``title`` is the head's name in messages and tables."""

    title: str
    build: Callable[[NetworkSettings, dict[str, Any]], FewShotNetwork]
    """Builds the head from the settings and the fields of ``FewShotNetwork`` that all heads share."""
    presets: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values of config fields that override the reading's."""
    own_fields: tuple[str, ...] = ()
    """Config fields that only this head reads; with other heads they must keep their defaults."""
    bypass: tuple[str, Any] | None = None
    """One of ``own_fields`` and the value of it that leaves the others unused."""
    has_memory: Callable[[NetworkSettings], bool] = lambda settings: False
    """Whether the head has memory embeddings, and so a reconstruction loss."""
