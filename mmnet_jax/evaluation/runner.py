"""A network scored on a list of episodes, with the baselines of the same list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Progress
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.evaluation.metrics import Scores, best_threshold, score
from mmnet_jax.evaluation.outputs import measured_batches
from mmnet_jax.evaluation.pixel_counts import PixelCounts, count_above_thresholds
from mmnet_jax.evaluation.protocols import Manifest
from mmnet_jax.features.source import Source, image_source
from mmnet_jax.models import FewShotNetwork
from mmnet_jax.models.registry import init_head


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What the same episodes give without training."""

    scores: Scores
    threshold: float | None = None
    """Where the confidence map was cut."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One episode's prediction, kept for a picture."""

    episode: int
    """Its number in the manifest."""
    predicted: Bool[np.ndarray, "h w"]
    """True where foreground is predicted, at the label's own size."""
    confidence: Float[np.ndarray, "grid grid"]
    """The confidence map C_Q, in [0, 1]; a padded query leaves its right or lower part empty."""
    activations: Float[np.ndarray, "n grid grid"]
    """The query's activations, in [0, 1], of the few embeddings that say most about the episode, likewise."""
    embeddings: Integer[np.ndarray, " n"]
    """Their numbers in the memory."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found; scores in percent."""

    manifest: Manifest
    scores: Scores
    class_iou: dict[str, float]
    left_out: tuple[str, ...]
    """Classes of the fold that no episode asks for; they are not in the mean."""
    baselines: dict[str, Baseline]
    """``untrained``: a fresh head on the same backbone; ``confidence``: the confidence map alone, best single cut."""
    intersection: Integer[np.ndarray, "e 2"]
    """Pixels of each episode, background and foreground; likewise the next two."""
    union: Integer[np.ndarray, "e 2"]
    area: Integer[np.ndarray, "e 2"]
    samples: tuple[Sample, ...] = ()

    @property
    def episodes(self) -> int:
        """How many were scored."""
        return len(self.manifest.episodes)

    @property
    def miou(self) -> float:
        """Mean over the classes of class_iou."""
        return self.scores.miou

    @property
    def fb_iou(self) -> float:
        """Mean of the pooled foreground's and background's IoU."""
        return self.scores.fb_iou

    @property
    def interval95(self) -> tuple[float, float]:
        """Bootstrap interval of miou over episodes."""
        return self.scores.interval95


def evaluate(
    model: FewShotNetwork,
    variables: dict[str, Any],
    config: ConfigDict,
    dataset: Dataset,
    manifest: Manifest,
    *,
    batch_size: int | None = None,
    source: Source | None = None,
    baselines: bool = False,
    samples: int = 0,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Scores a network on test episodes.

    Args:
      model: the network.
      variables: ``params``, ``backbone``, ``batch_stats``.
      config: resolved.
      dataset: its test split is used.
      manifest: the episodes, from ``draw_manifest``, ``configured_manifest`` or ``read_manifest``.
      batch_size: episodes at a time, over all devices, the config's if None; rounded up to a multiple of them.
      source: of the test split's episodes; its images by default.
      baselines: score a fresh head and the confidence map too, in the same pass.
      samples: of how many episodes, spread over the classes, to keep the prediction.
      say: gets lines of progress.

    Returns:
      The result, the same in every process.
    """
    heads = {"trained": variables["params"]}
    if baselines:
        heads["untrained"] = init_head(model, config.seed)
    frozen = {collection: variables[collection] for collection in ("backbone", "batch_stats")}
    class_ids = np.array([spec.class_id for spec in manifest.episodes])
    kept = spread_over_classes(class_ids, samples)
    sums = np.zeros((len(dataset.class_names), 2), np.int64)  # foreground intersection and union so far
    counted: dict[str, list[PixelCounts]] = {head: [] for head in heads}
    above, pictures = [], []
    batches = measured_batches(
        model,
        frozen,
        heads,
        source or image_source(dataset.test, config.data.image_size),
        manifest.episodes,
        config.data.image_size,
        batch_size or config.evaluation.batch_size,
    )
    with Progress("episode", len(class_ids), "episodes", say) as line:
        for first, size, measured in batches:
            for head in heads:
                counted[head].append(jax.tree.map(lambda x: np.asarray(x)[:size], measured.counts[head]))  # noqa: B023
            if baselines:
                above.append(count_above_thresholds(np.asarray(measured.bins)[:size]))
            for i in sorted(kept.intersection(range(first, first + size))):
                height, width = dataset.test.read_mask(manifest.episodes[i].query).shape
                predicted = np.asarray(measured.predicted[i - first])[:height, :width]
                maps = (measured.confidence, measured.activations, measured.embeddings)
                pictures.append(Sample(i, predicted, *(np.asarray(of[i - first]) for of in maps)))
            latest = counted["trained"][-1]
            np.add.at(sums, class_ids[first : first + size], np.stack([latest.intersection, latest.union])[..., 1].T)
            line.update(first + size, f"mIoU {_miou(sums):.2f}")

    counts = {head: jax.tree.map(lambda *parts: np.concatenate(parts), *counted[head]) for head in heads}
    scores = {head: score(c.intersection, c.union, class_ids) for head, c in counts.items()}
    found: dict[str, Baseline] = {}
    if baselines:
        threshold, cut = best_threshold(np.concatenate(above), class_ids)
        found = {"untrained": Baseline(scores["untrained"]), "confidence": Baseline(cut, threshold)}
    names, trained = dataset.class_names, scores["trained"]
    wanted = dataset.classes(manifest.fold, manifest.classes)
    return Result(
        manifest=manifest,
        scores=trained,
        class_iou={names[c]: iou for c, iou in trained.class_iou.items()},
        left_out=tuple(names[c] for c in wanted if c not in trained.class_iou),
        baselines=found,
        intersection=counts["trained"].intersection,
        union=counts["trained"].union,
        area=counts["trained"].area,
        samples=tuple(pictures),
    )


def _miou(sums: Integer[np.ndarray, "c 2"]) -> float:
    """In percent, over the classes that have been seen."""
    seen = sums[sums[:, 1] > 0]
    return 100 * float(np.mean(seen[:, 0] / seen[:, 1])) if len(seen) else 0.0


def spread_over_classes(class_ids: Integer[np.ndarray, " e"], count: int) -> set[int]:
    """About ``count`` episodes, as many of each class, evenly over its episodes (fewer where it has fewer)."""
    taken: set[int] = set()
    classes = np.unique(class_ids)
    for c, share in zip(classes, np.array_split(np.arange(count), len(classes)), strict=True):
        own = np.flatnonzero(class_ids == c)
        taken.update(own[np.linspace(0, len(own) - 1, len(share)).round().astype(int)].tolist())
    return taken
