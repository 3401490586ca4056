"""How well a network segments classes it has not seen: protocols, pixel counts, scores, results and their pictures."""

from mmnet_jax.evaluation.evaluating import Baseline, Result, Sample, evaluate
from mmnet_jax.evaluation.metrics import Scores
from mmnet_jax.evaluation.protocols import PROTOCOLS, Manifest, draw_manifest, read_manifest

__all__ = [
    "PROTOCOLS",
    "Baseline",
    "Manifest",
    "Result",
    "Sample",
    "Scores",
    "draw_manifest",
    "evaluate",
    "read_manifest",
]
