"""The values that describe a network."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What ``build_model`` needs to know, as plain values.

    The fields are those of the config's ``model`` and ``quality`` sections (``config/fields.py`` explains them).
    """

    head: str
    """As in ``HEADS``."""
    backbone: str
    """As in ``BACKBONES``."""
    channels: int
    bins: tuple[float, ...]
    dropout: float
    projection_kernel: int
    projection_shared: bool
    support_level4: str
    batch_norm: str
    confidence_dtype: str
    memory_size: int
    nodes: str
    levels: str
    cosine_on: str
    propagation: str
    shot_mask: str
    quality: str
    quality_normalise: str
    fem_input: str
