"""One test episode as picture files, for people to try a network on by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.evaluation.protocols import Manifest
from mmnet_jax.storage.files import write_whole

SUPPORT, MASK, QUERY = "support.png", "mask.png", "query.png"


def write_example(folder: Path, manifest: Manifest, dataset: Dataset, summary: dict[str, Any]) -> None:
    """Writes the first episode of the class that was segmented best: support.png, mask.png and query.png.

    Args:
      folder: made if need be.
      manifest: the episodes that were scored.
      dataset: whose test pictures they are.
      summary: from ``result_json``.

    Raises:
      OSError: naming a file that cannot be written.
    """
    best = max(summary["class_iou"], key=summary["class_iou"].get)
    spec = next(spec for spec in manifest.episodes if dataset.class_names[spec.class_id] == best)
    picture, indices = dataset.test.read(spec.supports[0])
    query, _ = dataset.test.read(spec.query)
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.where(indices == spec.class_id, 255, 0).astype(np.uint8)
    for name, content in {SUPPORT: picture, MASK: mask, QUERY: query}.items():
        write_whole(folder / name, png_bytes(content))
