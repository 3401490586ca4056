"""Preparing a dataset: a TFDS build that appears whole or not at all, and the words that go with it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
import tensorflow_datasets as tfds

from mmnet_jax.data.builder import Builder
from mmnet_jax.data.dataset import Dataset, Split, dataset_folder, is_prepared, open_dataset, preparable
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming


def prepare(
    name: str,
    source: str | Path | None,
    data_dir: str | Path,
    variant: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Builds a dataset and returns its folder; one that is there already is left as it is.

    The build goes on in a hidden folder beside, which is renamed at the end and removed after any failure.

    Args:
      name: which dataset, a key of ``DATASETS``.
      source: the folder of images and masks; None for a generated dataset.
      data_dir: where the prepared dataset goes, as ``name/variant/version``.
      variant: one of the dataset's, the default if None.
      progress: called with the split, its images done and in all, after each image.

    Raises:
      UserError: naming the folder that is missing or not what it should be, or the first file that is broken.
    """
    spec = preparable(name)
    variant = variant or spec.variant(None, 0)
    if spec.generated and source is not None:
        raise UserError(f"{name} is generated and takes no --source.")
    spec.check_variant(variant)
    place = None if spec.generated else _source_folder(name, source)
    data_dir = Path(data_dir).expanduser()
    folder = dataset_folder(name, data_dir, variant)
    if is_prepared(name, data_dir, variant):
        return folder
    if folder.exists():
        raise UserError(f"{folder} is there but holds no whole dataset; remove it and prepare {name} again.")

    created = [p for p in folder.parents if not p.exists()]
    try:
        with naming(data_dir):
            data_dir.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(data_dir, name)
            with tempfile.TemporaryDirectory(
                dir=data_dir, prefix=f".{name}-{os.uname().nodename}-{os.getpid()}-"
            ) as work:
                tfds.disable_progress_bar()
                with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own announcements
                    Builder(spec, place, variant, work, progress).download_and_prepare()
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    dataset_folder(name, work, variant).rename(folder)
                except OSError:
                    if not is_prepared(name, data_dir, variant):  # another process may be faster
                        raise
    except OSError as error:
        raise UserError(f"{error.filename or data_dir} cannot be written or read: {error.strerror or error}.") from None
    finally:
        if not folder.is_dir():
            for parent in created:
                with contextlib.suppress(OSError):
                    parent.rmdir()
    return folder


def _source_folder(name: str, source: str | Path | None) -> Path:
    if source is None:
        raise UserError(f"--source is missing: {name} is made from a folder of photographs and masks.")
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"--source {folder} is not a folder.")
    if not any(folder.iterdir()):
        raise UserError(f"--source {folder} is an empty folder.")
    return folder


def ensure_dataset(name: str, data_dir: str | Path, variant: str, say: Callable[[str], None]) -> bool:
    """Makes a generated dataset where it is missing, and returns whether it was.

    Args:
      name: a key of ``DATASETS``; nothing is done for one that is prepared from a source.
      data_dir: the folder of prepared datasets.
      variant: ``seed0``, ``seed1`` and so on.
      say: gets a line of progress now and then.

    Raises:
      UserError: it cannot be written.
    """
    if not DATASETS[name].generated or is_prepared(name, data_dir, variant):
        return False
    prepare(name, None, data_dir, variant, SpokenProgress(name, say))
    return True


def _remove_abandoned(data_dir: Path, name: str) -> None:
    """Removes the unfinished folders of builds on this machine whose process was killed."""
    start = f".{name}-{os.uname().nodename}-"
    for folder in data_dir.glob(f".{name}-*"):
        pid = folder.name.removeprefix(start).split("-")[0] if folder.name.startswith(start) else ""
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def summary(name: str, data_dir: str | Path, variant: str) -> str:
    """What a prepared dataset holds: images found, images of each class, and the command to run next."""
    dataset = open_dataset(name, data_dir, variant)
    index = tfds.builder_from_directory(dataset_folder(name, data_dir, variant)).info.metadata["splits"]
    lines = []
    for split in index:
        line = f"{split}: found {len(index[split]['ids']):,} of {index[split]['wanted']:,} images"
        bare = index[split]["without_mask"]
        lines.append(line + (f" ({bare:,} more without a mask)" if bare else ""))
    command = "  " + dataset.spec.train_command(data_dir, variant)
    return "\n".join([*lines, "", *_class_table(dataset, dataset.spec.min_pixels), "", "Next:", command])


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


class SpokenProgress:
    """Passes a line on every five seconds, and one at the end of each part."""

    def __init__(self, name: str, say: Callable[[str], None]):
        self._name, self._say = name, say
        self._begun = self._last = time.monotonic()

    def __call__(self, part: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= 5 or done == total:
            self._last = now
            left = (now - self._begun) / done * (total - done)
            self._say(f"{self._name} {part}: {done:,} of {total:,} images, {left:.0f} s left")
            if done == total:
                self._begun = now
