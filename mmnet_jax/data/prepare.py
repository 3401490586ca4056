"""Preparing a dataset: a TFDS build that appears whole or not at all, and the words that go with it."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from mmnet_jax.config import get_config
from mmnet_jax.data.dataset import (
    BUILDERS,
    GENERATED,
    Dataset,
    Split,
    configured_variant,
    dataset_folder,
    is_prepared,
    open_dataset,
)
from mmnet_jax.data.datasets.creatures.builder import MIN_PIXELS, config_name, seed_of
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
      name: which dataset, a key of ``BUILDERS``.
      source: the folder of photographs and masks; None for a dataset that is generated.
      data_dir: where the prepared dataset goes, as ``name/variant/version``.
      variant: ``"protocol"`` (if not given) or ``"folder"``; of a generated dataset ``"seed0"`` (if not given),
        ``"seed1"`` and so on.
      progress: called with the part, its images done and in all, after each image.

    Raises:
      UserError: naming the folder that is missing or not what it should be, or the first file that is broken.
    """
    if name not in BUILDERS:
        raise UserError(f"unknown dataset {name}; there is {', '.join(BUILDERS)}.")
    variant = variant or (config_name(0) if name in GENERATED else "protocol")
    if name in GENERATED:
        seed_of(variant)
        if source is not None:
            raise UserError(f"{name} is generated and takes no --source.")
    else:
        if source is None:
            raise UserError(f"--source is missing: {name} is made from a folder of photographs and masks.")
        if variant not in BUILDERS[name].builder_configs:
            raise UserError(f"--split must be {' or '.join(BUILDERS[name].builder_configs)}, but is {variant}.")
        source = Path(source).expanduser()
        if not source.is_dir():
            raise UserError(f"--source {source} is not a folder.")
        if not any(source.iterdir()):
            raise UserError(f"--source {source} is an empty folder.")
    data_dir = Path(data_dir).expanduser()
    folder = dataset_folder(name, data_dir, variant)
    if is_prepared(folder):
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
                builder = BUILDERS[name](config=variant, data_dir=work, file_format="array_record")
                builder.progress = progress
                download = tfds.download.DownloadConfig(manual_dir=source)
                tfds.disable_progress_bar()
                with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own announcements
                    builder.download_and_prepare(download_config=download)
                folder.parent.mkdir(parents=True, exist_ok=True)
                try:
                    dataset_folder(name, work, variant).rename(folder)
                except OSError:
                    if not is_prepared(folder):  # else another process was faster, with the same result
                        raise
    except OSError as error:
        raise UserError(f"{error.filename or data_dir} cannot be written or read: {error.strerror or error}.") from None
    finally:
        if not folder.is_dir():
            for parent in created:
                with contextlib.suppress(OSError):
                    parent.rmdir()
    return folder


def ensure_dataset(config: ConfigDict, say: Callable[[str], None]) -> None:
    """Makes the configured dataset where it is missing, if it is one that is generated.

    Args:
      config: ``data.dataset``, ``data.data_dir`` and ``data.generator_seed`` are read.
      say: gets a line of progress now and then.

    Raises:
      UserError: it cannot be written.
    """
    if needs_generating(config):
        name, variant = config.data.dataset, configured_variant(config)
        prepare(name, None, config.data.data_dir, variant, SpokenProgress(name, say))


def needs_generating(config: ConfigDict) -> bool:
    """Whether the configured dataset is a generated one that is not in ``data.data_dir`` yet."""
    name = config.data.dataset
    return name in GENERATED and not is_prepared(dataset_folder(name, config.data.data_dir, configured_variant(config)))


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


def summary(name: str, data_dir: str | Path, variant: str = "protocol") -> str:
    """What a prepared dataset holds: images found, images of each class, and the command to run next."""
    config = get_config()
    config.data.update(dataset=name, data_dir=str(data_dir))
    if name in GENERATED:
        config.data.update(generator_seed=seed_of(variant), min_pixels=MIN_PIXELS)
    else:
        config.data.split = variant
    dataset = open_dataset(config)
    index = tfds.builder_from_directory(dataset_folder(name, data_dir, variant)).info.metadata["splits"]
    lines = []
    for part in index:
        line = f"{part}: found {len(index[part]['ids']):,} of {index[part]['wanted']:,} images"
        bare = index[part]["without_mask"]
        lines.append(line + (f" ({bare:,} more without a mask)" if bare else ""))
    next_config = {"protocol": "pascal_1shot", "folder": "pascal_small"}.get(variant, "quickstart")
    command = (
        f"  python -m mmnet_jax.train --config=configs/{next_config}.py --workdir=WORKDIR "
        f"--config.data.data_dir={shlex.quote(str(data_dir))} "
    )
    if name in GENERATED:
        command += f"--config.data.generator_seed={config.data.generator_seed}"
    else:
        command += "--config.model.weights=FILE.safetensors"
    return "\n".join([*lines, "", *_class_table(dataset, config.data.min_pixels), "", "Next:", command])


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
