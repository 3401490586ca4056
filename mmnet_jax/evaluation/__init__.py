"""How well a network segments classes it has not seen: protocols, pixel counts, scores, results and their pictures.

The names below are imported when they are first used, so that drawing a picture does not wait for the libraries that
read datasets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmnet_jax.evaluation.evaluating import Baseline, Result, Sample, evaluate
    from mmnet_jax.evaluation.metrics import Scores
    from mmnet_jax.evaluation.protocols import PROTOCOLS, Manifest, draw_manifest, read_manifest
    from mmnet_jax.evaluation.results import result_json, write_result

_HOME = {
    "PROTOCOLS": "protocols",
    "Baseline": "evaluating",
    "Manifest": "protocols",
    "Result": "evaluating",
    "Sample": "evaluating",
    "Scores": "metrics",
    "draw_manifest": "protocols",
    "evaluate": "evaluating",
    "read_manifest": "protocols",
    "result_json": "results",
    "write_result": "results",
}

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
    "result_json",
    "write_result",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
