"""The result of an evaluation, of a network or of masks from files."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Integer

from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.metrics import Scores


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Scores on the same episodes without training."""

    scores: Scores
    intersection: Integer[np.ndarray, "e 2"]
    """Pixels of each episode, background and foreground; ``union`` has the same axes."""
    union: Integer[np.ndarray, "e 2"]
    threshold: float | None = None
    """Least confidence of foreground; None for a baseline without a threshold."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The prediction for one episode, kept for the sheet of episodes."""

    episode: int
    """Its number in the manifest."""
    predicted: Bool[np.ndarray, "h w"]
    """True where foreground is predicted, at the scored label's size."""
    confidence: Float[np.ndarray, "grid grid"] | None
    """The confidence map C_Q, in [0, 1], padding included; None for a head without one."""
    activations: Float[np.ndarray, "n grid grid"]
    """``top_activations`` of the query, in [0, 1], padding included."""
    embeddings: Integer[np.ndarray, " n"]
    """Indices of these embeddings in the memory."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of an evaluation."""

    manifest: Manifest
    scores: Scores
    baselines: dict[str, Baseline]
    """``untrained``: a head at initialisation; ``confidence``: the confidence map at its best threshold."""
    intersection: Integer[np.ndarray, "e 2"]
    """Pixels of each episode, background and foreground; ``union`` and ``area`` have the same axes."""
    union: Integer[np.ndarray, "e 2"]
    area: Integer[np.ndarray, "e 2"]
    samples: tuple[Sample, ...] = ()
