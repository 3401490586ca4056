"""Preparing a dataset: a build that appears whole or not at all, and a summary of what it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from mmnet_jax.cli.progress import Say
from mmnet_jax.data.builder import Builder
from mmnet_jax.data.dataset import Dataset, Split, dataset_folder, is_prepared, open_dataset, preparable
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming, whole_folder


def prepare(
    name: str, source: str | Path | None, data_dir: str | Path, variant: str | None = None, say: Say | None = None
) -> Path:
    """Builds a dataset and returns its folder; one that is there already is left as it is.

    Args:
      name: a key of ``DATASETS``.
      source: the folder of images and masks; None for a generated dataset.
      data_dir: where the prepared dataset goes, as ``name/variant/version``.
      variant: one of the dataset's, the default if None.
      say: gets lines of progress.

    Raises:
      UserError: naming the folder that is missing or not what it should be, or the first file that is broken.
      OSError: naming what the file system refuses.
    """
    spec = preparable(name)
    variant = variant or spec.variant(None, 0)
    if spec.generated and source is not None:
        raise UserError(f"{name} is generated and takes no --source.")
    spec.check_variant(variant)
    images = None if spec.generated else _source_folder(name, source)
    data_dir = Path(data_dir).expanduser()
    folder = dataset_folder(name, data_dir, variant)
    if is_prepared(name, data_dir, variant):
        return folder
    if folder.exists():
        raise UserError(f"{folder} is there but holds no whole dataset; remove it and prepare {name} again.")
    tfds.disable_progress_bar()
    with naming(data_dir), whole_folder(folder, root=data_dir) as unfinished:
        Builder(spec, images, variant, unfinished.parents[2], say).download_and_prepare()
    return folder


def ensure_dataset(name: str, data_dir: str | Path, variant: str, say: Say) -> bool:
    """Makes a generated dataset where it is missing, and returns whether it was.

    Args:
      name: a key of ``DATASETS``; nothing is done for one that is prepared from a source.
      data_dir: the folder of prepared datasets.
      variant: ``seed0``, ``seed1`` and so on.
      say: gets lines of progress.

    Raises:
      OSError: naming what the file system refuses.
    """
    if not DATASETS[name].generated or is_prepared(name, data_dir, variant):
        return False
    prepare(name, None, data_dir, variant, say)
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


def _source_folder(name: str, source: str | Path | None) -> Path:
    if source is None:
        raise UserError(f"--source is missing: {name} is made from a folder of images and masks.")
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"--source {folder} is not a folder.")
    if not any(folder.iterdir()):
        raise UserError(f"--source {folder} is an empty folder.")
    return folder


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
