"""Settings that a head is built from, and its declaration to the rest of the package."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mmnet_jax.models.network import FewShotNetwork


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What ``build_model`` takes: the config's ``model`` and ``quality`` sections (see ``config/fields.py``)."""

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
    """One head of the registry ``HEADS``; ``title`` is its name in messages and tables."""

    title: str
    build: Callable[[NetworkSettings, dict[str, Any]], FewShotNetwork]
    """From the settings, and the fields of ``FewShotNetwork`` that ``build_model`` has filled from them."""
    presets: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Values of config fields that a reading would otherwise fill."""
    own_fields: tuple[str, ...] = ()
    """Config fields that this head reads; with a head that does not they must keep their defaults."""
    bypass: tuple[str, Any] | None = None
    """An own field and its value with which the other own fields mean nothing."""
    has_memory: Callable[[NetworkSettings], bool] = lambda settings: False
    """Whether there are memory embeddings, and with them something to reconstruct."""
