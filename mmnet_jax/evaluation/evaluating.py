"""A network evaluated on a list of episodes: decoded in the background, counted on the device, compiled once."""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Integer
from ml_collections import ConfigDict

from mmnet_jax.data import Dataset, EpisodeSpec, RawEpisodes, Split, fold_classes, load_episodes, test_transform
from mmnet_jax.evaluation.counting import (
    PixelCounts,
    count_above_thresholds,
    count_pixels,
    predicted_foreground,
    resize_to_label,
)
from mmnet_jax.evaluation.metrics import Scores, best_threshold, score
from mmnet_jax.evaluation.progress import Progress
from mmnet_jax.evaluation.protocols import Classes, Manifest, draw_manifest
from mmnet_jax.models import MMNet
from mmnet_jax.models.build import init_head
from mmnet_jax.ops import resize_bilinear

DECODERS = 4
"""Threads that decode images, each a batch at a time."""


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


@struct.dataclass
class Measured:
    """What the device says of a batch."""

    counts: dict[str, PixelCounts]
    """For each head."""
    above: Int[Array, "b 2 thresholds"] | None
    """Label pixels at or above each threshold of the confidence map; only where baselines are asked for."""
    predicted: Bool[Array, "b m m"]
    confidence: Float[Array, "b h w"]


def evaluate(
    model: MMNet,
    variables: dict[str, Any],
    config: ConfigDict,
    dataset: Dataset,
    *,
    fold: int | None = None,
    shots: int | None = None,
    protocol: str | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    classes: Classes = "novel",
    manifest: Manifest | None = None,
    batch_size: int | None = None,
    baselines: bool = False,
    samples: int = 0,
    progress: Callable[[str], None] | None = None,
    progress_seconds: float = 30.0,
) -> Result:
    """Scores a network on test episodes. Whatever is not given comes from ``config``.

    Args:
      model: the network.
      variables: ``params``, ``backbone``, ``batch_stats``.
      config: resolved.
      dataset: its test split is used.
      fold: 0..3; like the next four arguments it draws the episodes where no manifest is given.
      shots: supports an episode.
      protocol: which rules draw the episodes.
      episodes: how many; the protocol's own number if neither this nor the config says.
      seed: of the episodes.
      classes: the fold's novel classes or its base classes.
      manifest: the very episodes to use; the five arguments above are then not looked at.
      batch_size: episodes at a time, over all devices; rounded up to a multiple of them.
      baselines: score a fresh head and the confidence map too, in the same pass.
      samples: of how many episodes, spread over the classes, to keep the prediction.
      progress: gets a line that says how far it is, every so many seconds.
      progress_seconds: how often.

    Returns:
      The result, the same in every process.
    """
    if manifest is None:
        manifest = draw_manifest(
            dataset,
            fold=config.fold if fold is None else fold,
            shots=config.shots if shots is None else shots,
            protocol=protocol or config.evaluation.protocol,
            seed=config.seed if seed is None else seed,
            min_pixels=config.data.min_pixels,
            episodes=episodes or config.evaluation.episodes,
            classes=classes,
        )
    heads = {"trained": variables["params"]}
    if baselines:
        heads["untrained"] = init_head(model, config.seed)
    frozen = {collection: variables[collection] for collection in ("backbone", "batch_stats")}
    class_ids = np.array([spec.class_id for spec in manifest.episodes])
    kept = spread_over_classes(class_ids, samples)
    line = Progress(len(class_ids), progress, progress_seconds)

    counted: dict[str, list[PixelCounts]] = {head: [] for head in heads}
    above, pictures = [], []
    batches = _measured_batches(
        model, frozen, heads, dataset.test, manifest, config.data.image_size, batch_size or config.evaluation.batch_size
    )
    for first, size, measured in batches:
        for head in heads:
            counted[head].append(jax.tree.map(lambda x: np.asarray(x)[:size], measured.counts[head]))  # noqa: B023
        if baselines:
            above.append(np.asarray(measured.above)[:size])
        for i in sorted(kept.intersection(range(first, first + size))):
            height, width = dataset.test.read(manifest.episodes[i].query)[1].shape
            predicted = np.asarray(measured.predicted[i - first])[:height, :width]
            pictures.append(Sample(i, predicted, np.asarray(measured.confidence[i - first])))
        latest = counted["trained"][-1]
        line.update(np.asarray(latest.intersection), np.asarray(latest.union), class_ids[first : first + size])

    counts = {head: jax.tree.map(lambda *parts: np.concatenate(parts), *counted[head]) for head in heads}
    scores = {head: score(c.intersection, c.union, class_ids) for head, c in counts.items()}
    found: dict[str, Baseline] = {}
    if baselines:
        threshold, cut = best_threshold(np.concatenate(above), class_ids)
        found = {"untrained": Baseline(scores["untrained"]), "confidence": Baseline(cut, threshold)}
    names, trained = dataset.class_names, scores["trained"]
    wanted = fold_classes(dataset.name, manifest.fold, manifest.classes)
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


def spread_over_classes(class_ids: Integer[np.ndarray, "e"], count: int) -> set[int]:
    """About ``count`` episodes, as many of each class, evenly over its episodes (fewer where it has fewer)."""
    taken: set[int] = set()
    classes = np.unique(class_ids)
    for c, share in zip(classes, np.array_split(np.arange(count), len(classes)), strict=True):
        own = np.flatnonzero(class_ids == c)
        taken.update(own[np.linspace(0, len(own) - 1, len(share)).round().astype(int)].tolist())
    return taken


def _measured_batches(
    model: MMNet,
    frozen: dict[str, Any],
    heads: dict[str, Any],
    split: Split,
    manifest: Manifest,
    image_size: int,
    batch_size: int,
) -> Iterator[tuple[int, int, Measured]]:
    """The number of each batch's first episode, how many of its rows count, and what the device says of it.

    While the device works on one batch the next is queued behind it, and the threads decode those after.
    """
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    everywhere, by_row = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    batch_size = -(-batch_size // mesh.size) * mesh.size
    own_rows = _rows_of_this_process(by_row, batch_size)
    frozen, heads = jax.device_put((frozen, heads), everywhere)
    specs = manifest.episodes

    def read(first: int) -> RawEpisodes:
        # The last batch is filled up with its last episode, which is not counted again.
        rows: list[EpisodeSpec] = [specs[min(first + row, len(specs) - 1)] for row in own_rows]
        return load_episodes(split, rows, split.max_side)

    def queue(raw: RawEpisodes) -> Measured:
        whole = jax.tree.map(lambda x: jax.make_array_from_process_local_data(by_row, x), raw)
        return _measure(model, image_size, everywhere, frozen, heads, whole)

    starts = range(0, len(specs), batch_size)
    waiting: deque[tuple[int, Measured]] = deque()
    with ThreadPoolExecutor(DECODERS) as threads:
        reading: deque[Future[RawEpisodes]] = deque(threads.submit(read, first) for first in starts[: 2 * DECODERS])
        try:
            for number, first in enumerate(starts):
                raw = reading.popleft().result()
                for later in starts[number + 2 * DECODERS : number + 2 * DECODERS + 1]:
                    reading.append(threads.submit(read, later))
                waiting.append((first, queue(raw)))
                if len(waiting) > 1:
                    done, measured = waiting.popleft()
                    yield done, batch_size, measured
            done, measured = waiting.popleft()
            yield done, len(specs) - done, measured
        finally:
            for future in reading:
                future.cancel()


def _rows_of_this_process(sharding: NamedSharding, rows: int) -> list[int]:
    """Which rows of a sharded batch lie on this process's devices, ascending."""
    parts = [index[0] for index in sharding.addressable_devices_indices_map((rows,)).values() if index]
    return sorted({row for part in parts for row in range(rows)[part]})


@functools.partial(jax.jit, static_argnames=("model", "image_size", "everywhere"))
def _measure(
    model: MMNet,
    image_size: int,
    everywhere: NamedSharding,
    frozen: dict[str, Any],
    heads: dict[str, Any],
    raw: RawEpisodes,
) -> Measured:
    """Segments a batch with every head, features computed once, and counts pixels at the labels' own sizes."""
    episode = test_transform(raw, image_size)
    features = model.apply({**frozen, "params": heads["trained"]}, episode, method="extract")
    labels = jnp.asarray(raw.query_label)
    sides, canvas = raw.query_size.max(axis=-1), labels.shape[-1]
    predictions: dict[str, Any] = {
        head: model.apply({**frozen, "params": params}, features, (image_size, image_size), method="decode")
        for head, params in heads.items()
    }
    masks = {head: predicted_foreground(p.logits, sides, canvas) for head, p in predictions.items()}
    counts = {head: count_pixels(mask, labels) for head, mask in masks.items()}
    confidence, above = predictions["trained"].confidence, None  # the same for all heads
    if len(heads) > 1:
        full = resize_bilinear(confidence[..., None], image_size)[..., 0]
        above = count_above_thresholds(resize_to_label(full, sides, canvas), labels)
    return jax.lax.with_sharding_constraint(Measured(counts, above, masks["trained"], confidence), everywhere)
