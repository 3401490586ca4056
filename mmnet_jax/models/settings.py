"""The values that describe a network."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What ``build_model`` needs to know, as plain values.

    The fields are those of the config's ``model`` and ``quality`` sections, where their choices are explained; the
    defaults are the paper's.
    """

    head: str = "mmnet"
    """As in ``HEADS``."""
    backbone: str = "resnet50_v2"
    """As in ``BACKBONES``."""
    channels: int = 256
    bins: tuple[float, ...] = (60, 30, 15, 8)
    dropout: float = 0.5
    projection_kernel: int = 3
    projection_shared: bool = True
    support_level4: str = "masked"
    batch_norm: str = "frozen"
    confidence_dtype: str = "auto"
    memory_size: int = 50
    nodes: str = "memory"
    levels: str = "2+3"
    cosine_on: str = "activations"
    propagation: str = "apm"
    shot_mask: str = "own"
    quality: str = "qmm"
    quality_normalise: str = "none"
    fem_input: str = "both"
