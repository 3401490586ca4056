"""Evaluation of a network and its baselines on a list of episodes."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Integer
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.batches import on_devices, read_ahead
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import load_labels
from mmnet_jax.data.transforms.evaluation import PAD
from mmnet_jax.data.transforms.squash import SQUASH
from mmnet_jax.devices import data_mesh, shardings
from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.metrics import best_threshold, score
from mmnet_jax.evaluation.outputs import Outputs, Scoring, compute_outputs
from mmnet_jax.evaluation.pixel_counts import count_above_thresholds
from mmnet_jax.evaluation.result import Baseline, Result, Sample
from mmnet_jax.evaluation.saved_masks import SaveMask
from mmnet_jax.evaluation.sheet import spread_over_classes
from mmnet_jax.features.encoded import Networks, encode_images, image_capacity
from mmnet_jax.features.plan import plan_turns
from mmnet_jax.features.source import Source, image_source
from mmnet_jax.models.encoded import EncodedImage
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.models.registry import init_head

FITS = {"pad": PAD, "squash": SQUASH}
"""``Protocol.fit`` -> how images are resized."""


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
    save_mask: SaveMask | None = None,
    say: Say | None = None,
) -> Result:
    """Scores a network on episodes of the dataset's test split.

    Args:
      variables: ``params``, ``backbone``, ``batch_stats``.
      config: resolved.
      manifest: the episodes, from ``draw_manifest``, ``configured_manifest`` or ``read_manifest``.
      batch_size: episodes per batch over all devices, rounded up to a multiple of them; the config's if None.
      source: images or stored features of the test split; the images, resized by the protocol's rule, if None.
      baselines: also score an untrained head and the confidence map, in the same pass.
      samples: number of episodes, spread over the classes, whose predictions the result keeps.
      save_mask: called with the number and the predicted mask of every episode.
      say: called with progress lines.

    Returns the result, the same in every process.
    """
    source = source or image_source(dataset.test, config.data.image_size, fit=FITS[manifest.rules.fit])
    heads = {"trained": variables["params"]} | ({"untrained": init_head(model, config.seed)} if baselines else {})
    frozen = {collection: variables[collection] for collection in ("backbone", "batch_stats")}
    everywhere, _ = shardings(data_mesh(jax.device_count()))
    networks = Networks(model, source.encoder, everywhere, *jax.device_put((frozen, heads), everywhere))
    specs, seeds = manifest.specs(dataset), len(manifest.seeds)
    scoring = Scoring(manifest.rules.scoring_side, manifest.ignored_is_background)
    class_ids = np.array([spec.class_id for spec in specs])
    queries = [episode.query for episode in manifest.episodes]
    chosen = spread_over_classes(class_ids, samples)
    sums = np.zeros((len(dataset.class_names), 2), np.int64)  # foreground intersection and union so far, by class

    parts, above, kept = [], [], []
    batch_size, cache_gb = batch_size or config.evaluation.batch_size, config.evaluation.cache_gb
    batches = _outputs(networks, source, dataset.test, specs, scoring, batch_size, cache_gb, say)
    with Progress("episode", len(class_ids), "episodes", say) as progress:
        for first, count, outputs in batches:
            parts.append(jax.tree.map(lambda x: np.asarray(x)[:count], outputs.counts))  # noqa: B023
            if outputs.bins is not None:
                above.append(count_above_thresholds(np.asarray(outputs.bins)[:count]))
            for i in sorted(chosen & {*range(first, first + count)}):
                # sliced on the host, because the device is busy with the next batch
                one = jax.tree.map(lambda x: np.asarray(x)[i - first], dataclasses.replace(outputs, counts={}))  # noqa: B023
                predicted = one.predicted[: one.size[0], : one.size[1]]
                kept.append(Sample(i, predicted, one.confidence, one.activations, one.embeddings))
            if save_mask is not None:
                masks, sizes = np.asarray(outputs.predicted), np.asarray(outputs.size)
                for row, (height, width) in enumerate(sizes[:count]):
                    save_mask(first + row, masks[row, :height, :width])
            latest = parts[-1]["trained"]
            np.add.at(sums, class_ids[first : first + count], np.stack([latest.intersection, latest.union])[..., 1].T)
            progress.update(first + count, f"mIoU {_miou(sums):.2f}")

    counts: dict[str, Any] = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {head: (c.intersection, c.union) for head, c in counts.items()}
    thresholds: dict[str, float] = {}
    if above:
        threshold, intersection, union = best_threshold(np.concatenate(above), class_ids, seeds=seeds)
        pixels["confidence"], thresholds["confidence"] = (intersection, union), threshold
    methods = {
        name: Baseline(score(*own, class_ids, queries, seeds=seeds, fold=manifest.fold), *own, thresholds.get(name))
        for name, own in pixels.items()
    }
    trained, area = methods.pop("trained"), counts["trained"].area
    return Result(manifest, trained.scores, methods, trained.intersection, trained.union, area, tuple(kept))


def _outputs(
    networks: Networks,
    source: Source,
    split: Split,
    specs: list[EpisodeSpec],
    scoring: Scoring,
    batch_size: int,
    cache_gb: float | None,
    say: Say | None,
) -> Iterator[tuple[int, int, Outputs]]:
    """Yields for each batch the number of its first episode, its number of episodes, and its outputs.

    Each image is encoded when an episode first needs it, and kept for later batches as far as ``cache_gb`` allows.

    While the device computes one batch, the next is queued behind it and threads load those after. The first batch runs
    alone: it waits for the compiler, and a second one behind it would make the reported rate too high.
    """
    by_row, devices = networks.by_row, networks.everywhere.mesh.size
    batch_size = -(-batch_size // devices) * devices
    # On a CPU, XLA's convolutions take longer per image in larger batches.
    chunk = devices if jax.default_backend() == "cpu" else batch_size

    # The last batch is padded with its last episode, which counts once.
    starts = range(0, len(specs), batch_size)
    batches = [[specs[min(first + row, len(specs) - 1)] for row in range(batch_size)] for first in starts]
    rows = jax.tree.map(lambda x: np.stack([x] * chunk), source.row(specs[0].query))
    capacity, size = image_capacity(jax.eval_shape(encode_images, networks, rows)[0], cache_gb, networks.everywhere)
    plan = plan_turns([[image for spec in batch for image in spec.images] for batch in batches], capacity, chunk)
    if say is not None:
        say(plan.describe(len(specs), len(specs) * len(specs[0].images), size))

    own_chunk, own_batch = _own_rows(by_row, chunk), _own_rows(by_row, batch_size)

    def load(number: int) -> tuple[list[Any], Any]:
        """This process's part of a batch: the rows of each chunk, padded with its last image, and the labels."""
        chunks = []
        for images in plan.turns[number].chunks:
            rows = [source.row(images[min(row, len(images) - 1)]) for row in own_chunk]
            chunks.append(jax.tree.map(lambda *x: np.stack(x), *rows))
        return chunks, load_labels(split, [batches[number][row] for row in own_batch])

    kept: dict[int, EncodedImage] = {}
    queued: Outputs | None = None
    with closing(read_ahead(load, range(len(batches)))) as loaded:
        for first, turn, batch, (chunks, labels) in zip(starts, plan.turns, batches, loaded, strict=True):
            for image in turn.dropped:
                del kept[image]
            for images, rows in zip(turn.chunks, chunks, strict=True):
                kept.update(zip(images, encode_images(networks, on_devices(rows, by_row)), strict=False))
            sets = tuple(tuple(kept[image] for image in spec.images) for spec in batch)
            outputs = compute_outputs(networks, scoring, sets, *on_devices(labels, by_row))
            if first == 0:
                yield first, min(batch_size, len(specs)), outputs
                continue
            if queued is not None:
                yield first - batch_size, batch_size, queued
            queued = outputs
    if queued is not None:
        yield starts[-1], len(specs) - starts[-1], queued


def _own_rows(by_row: NamedSharding, length: int) -> list[int]:
    """The rows that this process holds of an array that is split over all devices."""
    here = by_row.addressable_devices_indices_map((length,)).values()
    return sorted({row for index in here if index for row in range(length)[index[0]]})


def _miou(sums: Integer[np.ndarray, "c 2"]) -> float:
    """mIoU in percent over the classes seen so far."""
    seen = sums[sums[:, 1] > 0]
    return 100 * float(np.mean(seen[:, 0] / seen[:, 1])) if len(seen) else 0.0
