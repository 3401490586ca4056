"""Creatures as a TFDS builder: drawn, not downloaded, each seed a dataset of its own."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from mmnet_jax.data import images, records
from mmnet_jax.data.datasets.creatures.anatomy import CREATURES
from mmnet_jax.data.datasets.creatures.scene import SIDES, draw_scene
from mmnet_jax.data.workers import begin_worker
from mmnet_jax.errors import UserError

T = TypeVar("T")

PICTURES = {"train": 1600, "val": 400}
"""How many a split has."""
MIN_PIXELS = 200
"""Of a class, for a picture of this size to be admitted to its lists."""
AT_A_TIME = 20
"""Pictures that a drawing process hands over together."""


class Creatures(tfds.core.GeneratorBasedBuilder):
    """Animals and vehicles put together from shared parts, on cluttered grounds: 20 classes in four folds.

    A configuration is called ``seed0``, ``seed1`` and so on. The masks are exact.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # nothing is downloaded, so no checksums are looked for beside the code

    progress: Callable[[str, int, int], None] | None = None
    """Called with the split, its pictures done and in all, now and then."""

    def __init__(self, *, config: str, **keywords: Any) -> None:
        description = f"Drawn with seed {seed_of(config)}."
        super().__init__(config=tfds.core.BuilderConfig(name=config, description=description), **keywords)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=records.features(len(CREATURES), encoding="png"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[Any]]:
        self.info.metadata["class_names"] = list(CREATURES)
        self.info.metadata["max_side"] = max(SIDES)
        self.info.metadata["splits"] = {
            split: {"wanted": n, "without_mask": 0, "ids": [f"{split}_{i:05}" for i in range(n)], "counts": []}
            for split, n in PICTURES.items()
        }
        return {split: self._generate_examples(split) for split in PICTURES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        index = self.info.metadata["splits"][split]
        part, total = list(PICTURES).index(split), len(index["ids"])
        seed = seed_of(self.builder_config.name)
        # Spawned, since a process that computes with jax must not be forked.
        with ProcessPoolExecutor(_processes(), mp_context=get_context("spawn"), initializer=begin_worker) as pool:
            chunks = [(seed, part, first, min(first + AT_A_TIME, total)) for first in range(0, total, AT_A_TIME)]
            i = 0
            for chunk in _unbroken(pool.map(draw_encoded, chunks)):
                for image, mask, counts in chunk:
                    index["counts"].append(records.pack_counts(counts))
                    yield i, {"id": index["ids"][i], "image": image, "mask": mask, "counts": counts}
                    i += 1
                if self.progress:
                    self.progress(split, i, total)


def draw_encoded(which: tuple[int, int, int, int]) -> list[tuple[bytes, bytes, np.ndarray]]:
    """Pictures ``first`` to ``end - 1`` of a part: PNG bytes of image and mask, and the pixels of each class.

    Args:
      which: seed, part, first, end.
    """
    seed, part, first, end = which
    drawn = []
    for number in range(first, end):
        image, mask = draw_scene(seed, part, number)
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG", compress_level=1)
        counts = np.bincount(mask.ravel(), minlength=len(CREATURES)).astype(np.int64)
        drawn.append((file.getvalue(), images.encode_mask(mask), counts))
    return drawn


def _unbroken(drawn: Iterator[T]) -> Iterator[T]:
    try:
        yield from drawn
    except BrokenProcessPool:
        raise UserError("a process that draws creatures was killed, perhaps for want of memory.") from None


def _processes() -> int:
    """As many as this process may use cores, within reason: each takes 200 MB."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def config_name(seed: int) -> str:
    """What the dataset of a seed is called."""
    return f"seed{seed}"


def seed_of(name: str) -> int:
    """The seed of a dataset's name.

    Raises:
      UserError: it is no such name.
    """
    seed = name.removeprefix("seed")
    if not seed.isdigit() or config_name(int(seed)) != name:
        raise UserError(f"creatures are called seed0, seed1 and so on, but not {name}.")
    return int(seed)
