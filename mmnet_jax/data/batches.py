"""Batches of training episodes, read and decoded by grain in threads or processes, and put on the devices."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import grain
import jax
from absl import flags
from jax.sharding import Sharding

from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, training_episode
from mmnet_jax.data.workers import begin_worker
from mmnet_jax.errors import UserError

Batch = TypeVar("Batch")
ENDLESS = sys.maxsize


def training_batches(
    load: Callable[[Sequence[EpisodeSpec]], Batch],
    index: EpisodeIndex,
    *,
    seed: int,
    batch_size: int,
    start_step: int = 0,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.DatasetIterator[Batch]:
    """An endless iterator over this process's part of the training batches, from batch ``start_step`` on.

    Batch b holds the training episodes b*B .. b*B + B-1, whatever the number of workers (0: threads); each process
    takes a contiguous part. ``get_state()`` and ``set_state()`` resume exactly, and so does ``start_step``.

    Raises:
      UserError: the batch does not divide among the processes, or the admitted images do not fill one.
    """
    if batch_size % process_count:
        raise UserError(f"training.batch_size = {batch_size} does not divide among {process_count} processes.")
    index.episodes_per_epoch(batch_size)
    part = batch_size // process_count
    own = range(process_index * part, (process_index + 1) * part)
    return read_ahead(
        lambda batch: load([training_episode(index, seed, batch * batch_size + i, batch_size) for i in own]),
        range(start_step, ENDLESS),
        workers,
    )


def on_devices(batch: Batch, sharding: Sharding) -> Batch:
    """The arrays of the whole batch on the devices, from this process's part of it."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def read_ahead(read: Callable[[int], Batch], numbers: range, workers: int = 0) -> grain.DatasetIterator[Batch]:
    """Iterates over ``read(number)``, with the next results prefetched by ``workers`` processes, or by threads (0)."""
    # a lambda, since grain prints the arguments of a partial: whole arrays
    batches = grain.MapDataset.range(numbers.start, numbers.stop, numbers.step).map(lambda number: read(number))
    if not workers:
        return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain passes absl's flags to its workers and fails without any
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    multiprocessing = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    return iter(batches.to_iter_dataset(options).mp_prefetch(multiprocessing, begin_worker))
