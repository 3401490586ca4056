"""How well a network segments classes it has not seen: protocols, pixel counts, scores, results and their pictures.

The names below are imported when they are first used, so that drawing a picture does not wait for the libraries that
read datasets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmnet_jax.lazy import attach

if TYPE_CHECKING:
    from mmnet_jax.evaluation.evaluating import Baseline, Result, Sample, evaluate
    from mmnet_jax.evaluation.metrics import Scores
    from mmnet_jax.evaluation.protocols import PROTOCOLS, Manifest, configured_manifest, draw_manifest, read_manifest
    from mmnet_jax.evaluation.reporting import report
    from mmnet_jax.evaluation.results import about_run, result_json, write_result
    from mmnet_jax.evaluation.scoring import Scored, score_workdir

__getattr__, __all__ = attach(
    __name__,
    {
        "PROTOCOLS": "protocols",
        "Baseline": "evaluating",
        "Manifest": "protocols",
        "Result": "evaluating",
        "Sample": "evaluating",
        "Scored": "scoring",
        "Scores": "metrics",
        "about_run": "results",
        "configured_manifest": "protocols",
        "draw_manifest": "protocols",
        "evaluate": "evaluating",
        "read_manifest": "protocols",
        "report": "reporting",
        "result_json": "results",
        "score_workdir": "scoring",
        "write_result": "results",
    },
)
