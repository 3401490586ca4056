"""Batches of training episodes, read and decoded by grain in threads or processes."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grain
from absl import flags
from ml_collections import ConfigDict

from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, training_episode
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.workers import begin_worker
from mmnet_jax.errors import UserError

Batch = TypeVar("Batch")


@dataclasses.dataclass(frozen=True)
class _LoadShare(grain.transforms.Map):
    """Batch number -> this process's share of the batch."""

    load: Callable[[Sequence[EpisodeSpec]], Any]
    index: EpisodeIndex
    seed: int
    batch_size: int
    process_index: int
    process_count: int

    def map(self, batch: int) -> Any:
        share = self.batch_size // self.process_count
        first = batch * self.batch_size + self.process_index * share
        episodes = range(first, first + share)
        return self.load([training_episode(self.index, self.seed, i, self.batch_size) for i in episodes])


def training_batches(
    split: Split,
    index: EpisodeIndex,
    config: ConfigDict,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    load: Callable[[Sequence[EpisodeSpec]], Any] | None = None,
) -> grain.DatasetIterator[Any]:
    """An endless iterator over a process's share of the training batches, from batch ``start_step`` on.

    Batch b holds the training episodes b*B .. b*B + B-1, whatever the number of workers; each process takes a
    contiguous part. ``get_state()`` and ``set_state()`` resume exactly, and so does ``start_step``.

    Args:
      split: the training split.
      index: of that split.
      config: ``seed``, ``training.batch_size`` (B, over all processes) and ``data.workers`` (processes that read and
        decode; 0: threads of this one) are read.
      start_step: first batch.
      process_index: of this process.
      process_count: among how many a batch is shared.
      load: what makes a batch of its episodes, in threads of this process; ``load_episodes`` if not given, whose
        ``RawEpisodes`` the workers make.

    Raises:
      UserError: if the batch does not divide among the processes, or the admitted images do not fill one.
    """
    batch_size, workers = config.training.batch_size, config.data.workers
    if batch_size % process_count:
        raise UserError(f"training.batch_size = {batch_size} does not divide among {process_count} processes.")
    index.episodes_per_epoch(batch_size)
    share = _LoadShare(
        load or functools.partial(load_episodes, split, max_side=split.max_side),
        index,
        config.seed,
        batch_size,
        process_index,
        process_count,
    )
    return read_ahead(grain.MapDataset.range(start_step, sys.maxsize).map(share), 0 if load else workers)


def read_ahead(batches: grain.MapDataset[Batch], workers: int) -> grain.DatasetIterator[Batch]:
    """Iterates over ``batches``, the next ones made in the meantime by ``workers`` processes, or by threads (0)."""
    if not workers:
        return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain hands absl's flags on to its workers, and insists that there are some
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    multiprocessing = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
    return iter(batches.to_iter_dataset(options).mp_prefetch(multiprocessing, begin_worker))
