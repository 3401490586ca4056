"""The outcome of an evaluation, whoever segmented."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Integer

from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.metrics import Scores


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The scores of the same episodes without training."""

    scores: Scores
    intersection: Integer[np.ndarray, "e 2"]
    """Pixels of each episode, background and foreground; likewise ``union``."""
    union: Integer[np.ndarray, "e 2"]
    threshold: float | None = None
    """Confidence from which on a pixel is foreground; None where no map was cut."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One episode's prediction, kept for the sheet."""

    episode: int
    """Its number in the manifest."""
    predicted: Bool[np.ndarray, "h w"]
    """True where foreground is predicted, at the scored label's size."""
    confidence: Float[np.ndarray, "grid grid"] | None
    """The confidence map C_Q, in [0, 1], where the head has one; its right or lower part may be the query's padding."""
    activations: Float[np.ndarray, "n grid grid"]
    """``top_activations`` of the query, in [0, 1], likewise."""
    embeddings: Integer[np.ndarray, " n"]
    """Their numbers in the memory."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The outcome of an evaluation."""

    manifest: Manifest
    scores: Scores
    baselines: dict[str, Baseline]
    """``untrained``: a fresh head on the same backbone; ``confidence``: the confidence map at its best threshold."""
    intersection: Integer[np.ndarray, "e 2"]
    """Pixels of each episode, background and foreground; likewise the next two."""
    union: Integer[np.ndarray, "e 2"]
    area: Integer[np.ndarray, "e 2"]
    samples: tuple[Sample, ...] = ()
