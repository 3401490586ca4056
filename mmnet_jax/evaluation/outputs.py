"""Episodes through the network: decoded in the background, segmented and counted on the device, compiled once."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt8

from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.evaluation.activations import telling_activations
from mmnet_jax.evaluation.pixel_counts import (
    PixelCounts,
    count_pixels,
    predicted_foreground,
    threshold_bins,
)
from mmnet_jax.features.source import Encoder, Source
from mmnet_jax.models import FewShotNetwork
from mmnet_jax.ops.resize import resize_bilinear, resize_to_sides

DECODERS = 4
"""Threads that decode images, a batch each; so many batches are held ready at most."""


@struct.dataclass
class Measured:
    """What the device says of a batch."""

    counts: dict[str, PixelCounts]
    """For each head."""
    bins: UInt8[Array, "b m m"] | None
    """The label pixels' bins by the confidence map; only where baselines are asked for."""
    predicted: Bool[Array, "b m m"]
    confidence: Float[Array, "b h w"]
    activations: Float[Array, "b n h w"]
    """The query's, of the few embeddings that say most about the episode."""
    embeddings: Int[Array, "b n"]
    """Their numbers."""


def measured_batches(
    model: FewShotNetwork,
    frozen: dict[str, Any],
    heads: dict[str, Any],
    source: Source,
    specs: Sequence[EpisodeSpec],
    image_size: int,
    batch_size: int,
) -> Iterator[tuple[int, int, Measured]]:
    """Runs episodes through a network with one or several heads.

    While the device works on one batch the next is queued behind it, and the threads decode those after.

    Args:
      model: the network.
      frozen: collections ``backbone`` and ``batch_stats``.
      heads: ``params`` by name; ``trained`` is among them. With more than one the confidence map is counted too.
      source: of the episodes.
      specs: the episodes.
      image_size: S.
      batch_size: over all devices; rounded up to a multiple of them.

    Yields:
      The number of each batch's first episode, how many of its rows count, and what the device says of it.
    """
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    everywhere, by_row = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    batch_size = -(-batch_size // mesh.size) * mesh.size
    own_rows = _rows_of_this_process(by_row, batch_size)
    frozen, heads = jax.device_put((frozen, heads), everywhere)

    def read(first: int) -> Any:
        # The last batch is filled up with its last episode, which is not counted again.
        return source.load([specs[min(first + row, len(specs) - 1)] for row in own_rows])

    def queue(batch: Any) -> Measured:
        whole = jax.tree.map(lambda x: jax.make_array_from_process_local_data(by_row, x), batch)
        return _measure(model, source.encoder, image_size, everywhere, frozen, heads, whole)

    starts = range(0, len(specs), batch_size)
    waiting: deque[tuple[int, Measured]] = deque()
    with ThreadPoolExecutor(DECODERS) as threads:
        reading: deque[Future[Any]] = deque(threads.submit(read, first) for first in starts[:DECODERS])
        try:
            for number, first in enumerate(starts):
                batch = reading.popleft().result()
                for later in starts[number + DECODERS : number + DECODERS + 1]:
                    reading.append(threads.submit(read, later))
                waiting.append((first, queue(batch)))
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


@functools.partial(jax.jit, static_argnames=("model", "encoder", "image_size", "everywhere"))
def _measure(
    model: FewShotNetwork,
    encoder: Encoder,
    image_size: int,
    everywhere: NamedSharding,
    frozen: dict[str, Any],
    heads: dict[str, Any],
    batch: Any,
) -> Measured:
    """Segments a batch with every head, features computed once, and counts pixels at the labels' own sizes."""
    episodes = encoder.transform(batch)
    features, _ = encoder.extract(model, {**frozen, "params": heads["trained"]}, episodes)
    labels, sides = batch.query_label, batch.query_size.max(axis=-1)
    canvas = labels.shape[-1]
    predictions: dict[str, Any] = {
        head: model.apply({**frozen, "params": params}, features, (image_size, image_size), method="decode")
        for head, params in heads.items()
    }
    masks = {head: predicted_foreground(p.logits, sides, canvas) for head, p in predictions.items()}
    counts = {head: count_pixels(mask, labels) for head, mask in masks.items()}
    confidence, bins = predictions["trained"].confidence, None  # the same for all heads
    if len(heads) > 1:
        full = resize_bilinear(confidence[..., None], image_size)[..., 0]
        bins = threshold_bins(resize_to_sides(full, sides, canvas), labels)
    activations, embeddings = telling_activations(predictions["trained"], episodes.support_labels)
    measured = Measured(counts, bins, masks["trained"], confidence, activations, embeddings)
    return jax.lax.with_sharding_constraint(measured, everywhere)
