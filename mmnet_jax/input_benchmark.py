"""Speed of a training's input: decoding compared with plain Pillow, steps on new batches with steps on one batch."""

import io
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.images import decode_image
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.markdown import markdown_table
from mmnet_jax.training.loop import Job

BATCH = 8
"""Images that are read at a time: 4 episodes of two images."""

JPEG, IMAGE_AND_MASK, OURS, EPISODES = "Pillow: image", "Pillow: image and mask", "decode_image", "load_episodes"
ONE_BATCH, NEW_BATCHES = "one batch", "the training's batches"

Times = dict[str, list[float]]


def measure_decoding(split: Split, images: int, repeats: int) -> Times:
    """Milliseconds of processor time for an image in each of ``repeats`` runs of every task, in turns.

    ``load_episodes`` reads the record, decodes image and mask, makes the label and pads both. All tasks take the same
    images.

    Raises:
      UserError: the split does not fill a batch.
    """
    if len(split) < BATCH:
        raise UserError(f"decoding is measured on at least {BATCH} images; the {split.name} split has {len(split)}.")
    records = [split.record(i)[0] for i in range(min(images, len(split)) // BATCH * BATCH)]
    starts = range(0, len(records), BATCH)

    def each(decode: Callable[[Mapping[str, Any]], Any]) -> Callable[[], None]:
        def run() -> None:
            for first in starts:  # the arrays of a batch are in memory together, as by load_episodes
                [decode(record) for record in records[first : first + BATCH]]

        return run

    def load() -> None:
        for first in starts:
            load_episodes(split, [EpisodeSpec(i, 1, (i + 1,)) for i in range(first, first + BATCH, 2)])

    tasks = {
        JPEG: each(lambda record: _plain(record["image"])),
        OURS: each(lambda record: decode_image(record["image"], "")),
        IMAGE_AND_MASK: each(lambda record: (_plain(record["image"]), _plain(record["mask"]))),
        EPISODES: load,
    }
    times: Times = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            times[name].append(1e3 * (time.process_time() - start) / len(records))
    return times


def _plain(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def measure_steps(job: Job, steps: int, repeats: int, warm_up: int = 12) -> Times:
    """Milliseconds of a training step on one repeated batch, and on new batches as in the training loop.

    Blocks of ``steps`` take turns. Each begins with ``warm_up`` steps that are not counted, more than the batches read
    ahead.
    """
    state, times = job.state, Times({ONE_BATCH: [], NEW_BATCHES: []})
    with closing(job.batches(0)) as incoming:
        fixed = job.place(next(incoming))
        sources = {ONE_BATCH: lambda: fixed, NEW_BATCHES: lambda: job.place(next(incoming))}
        for name, batch_fn in [*sources.items()] * repeats:
            batch = batch_fn()
            for step in range(warm_up + steps):
                if step == warm_up:
                    jax.block_until_ready(state)
                    start = time.perf_counter()
                state, _ = job.update(state, batch)
                batch = batch_fn()
            jax.block_until_ready(state)
            times[name].append(1e3 * (time.perf_counter() - start) / steps)
    return times


def table(times: Times, unit: str, baseline: str) -> str:
    """Medians and fastest runs as Markdown, and each median over the median of ``baseline``."""
    reference = statistics.median(times[baseline])
    rows = [(name, statistics.median(own), min(own)) for name, own in times.items()]
    texts = [(name, f"{median:.2f}", f"{least:.2f}", f"{median / reference:.2f}") for name, median, least in rows]
    return "\n".join(markdown_table(("task", f"{unit}, median", "fastest", f"over {baseline}"), texts))


def processor() -> str:
    """The name of this machine's processor, and the number of its cores."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else "unknown"
