"""Preparing a dataset: a TFDS build that appears whole or not at all, and the words that go with it."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
import tensorflow_datasets as tfds

from mmnet_jax.config import get_config
from mmnet_jax.data.dataset import BUILDERS, Dataset, Split, dataset_folder, open_dataset
from mmnet_jax.errors import UserError


def prepare(
    name: str,
    source: str | Path,
    data_dir: str | Path,
    split: str = "protocol",
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Builds a dataset and returns its folder; one that is there already is left as it is.

    The build goes on in a hidden folder beside, which is renamed at the end and removed after any failure.

    Args:
      name: which dataset, a key of ``BUILDERS``.
      source: the folder of photographs and masks.
      data_dir: where the prepared dataset goes, as ``name/split/version``.
      split: ``"protocol"`` or ``"folder"``.
      progress: called with the part, its images done and in all, after each image.

    Raises:
      UserError: naming the folder that is missing or not what it should be, or the first file that is broken.
    """
    if name not in BUILDERS:
        raise UserError(f"unknown dataset {name}; there is {', '.join(BUILDERS)}.")
    if split not in BUILDERS[name].builder_configs:
        raise UserError(f"--split must be {' or '.join(BUILDERS[name].builder_configs)}, but is {split}.")
    source, data_dir = Path(source).expanduser(), Path(data_dir).expanduser()
    if not source.is_dir():
        raise UserError(f"--source {source} is not a folder.")
    if not any(source.iterdir()):
        raise UserError(f"--source {source} is an empty folder.")
    folder = dataset_folder(name, data_dir, split)
    if folder.is_dir():
        return folder

    created = [p for p in folder.parents if not p.exists()]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{name}-") as work:
            builder = BUILDERS[name](config=split, data_dir=work, file_format="array_record")
            builder.progress = progress
            download = tfds.download.DownloadConfig(manual_dir=source)
            tfds.disable_progress_bar()
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own announcements
                builder.download_and_prepare(download_config=download)
            folder.parent.mkdir(parents=True, exist_ok=True)
            dataset_folder(name, work, split).rename(folder)
    except OSError as error:
        raise UserError(f"{error.filename or data_dir} cannot be written or read: {error.strerror or error}.") from None
    finally:
        if not folder.is_dir():
            for parent in created:
                with contextlib.suppress(OSError):
                    parent.rmdir()
    return folder


def summary(name: str, data_dir: str | Path, split: str = "protocol") -> str:
    """What a prepared dataset holds: images found, images of each class, and the command to run next."""
    config = get_config()
    config.data.update(dataset=name, data_dir=str(data_dir), split=split)
    dataset = open_dataset(config)
    index = tfds.builder_from_directory(dataset_folder(name, data_dir, split)).info.metadata["splits"]
    lines = []
    for part in index:
        line = f"{part}: found {len(index[part]['ids']):,} of {index[part]['wanted']:,} images"
        bare = index[part]["without_mask"]
        lines.append(line + (f" ({bare:,} more without a mask)" if bare else ""))
    lines += ["", *_class_table(dataset, config.data.min_pixels), "", "Next:"]
    file = "pascal_small" if split == "folder" else "pascal_1shot"
    lines.append(
        f"  python -m mmnet_jax.train --config=configs/{file}.py --workdir=WORKDIR "
        f"--config.data.data_dir={shlex.quote(str(data_dir))} --config.model.weights=FILE.safetensors"
    )
    return "\n".join(lines)


def _class_table(dataset: Dataset, min_pixels: int) -> list[str]:
    def columns(split: Split) -> tuple[np.ndarray, np.ndarray]:
        return (split.counts > 0).sum(axis=0), (split.counts >= min_pixels).sum(axis=0)

    (train, train_large), (test, test_large) = columns(dataset.train), columns(dataset.test)
    width = max(map(len, dataset.class_names))
    lines = [
        f"{'images with':{width}}      train               val",
        f"{'':{width}}    any  >= {min_pixels} px    any  >= {min_pixels} px",
    ]
    for c, name in list(enumerate(dataset.class_names))[1:]:
        lines.append(f"{name:{width}}  {train[c]:5,}  {train_large[c]:10,}  {test[c]:5,}  {test_large[c]:10,}")
    return lines


class ProgressLine:
    """Writes how far a build is: one line that renews itself on a terminal, one every ten seconds elsewhere."""

    def __init__(self, name: str, stream: TextIO | None = None):
        self._name = name
        self._stream = stream or sys.stderr
        self._interval = 0.2 if self._stream.isatty() else 10.0
        self._start = self._last = time.monotonic()
        self.called = False

    def __call__(self, part: str, done: int, total: int) -> None:
        self.called = True
        now = time.monotonic()
        if now - self._last < self._interval and done < total:
            return
        self._last = now
        text = f"{self._name} {part}: {done:,} of {total:,} images, {now - self._start:.0f} s"
        live = self._stream.isatty()
        self._stream.write(f"\r{text}{os.linesep if done == total else ''}" if live else f"{text}\n")
        self._stream.flush()
