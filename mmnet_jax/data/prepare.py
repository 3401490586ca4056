"""Preparing a dataset: a build that appears whole or not at all, and a summary of what it holds."""

from pathlib import Path

import tensorflow_datasets as tfds

from mmnet_jax.cli.progress import Say
from mmnet_jax.data.builder import Builder
from mmnet_jax.data.dataset import Dataset, dataset_folder, is_prepared, open_dataset, preparable
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming, whole_folder


def prepare(
    name: str, source: str | Path | None, data_dir: str | Path, variant: str | None = None, say: Say | None = None
) -> Path:
    """Builds a variant of a dataset (None: the default) and returns its folder; one that is there is left as it is.

    ``source`` is the folder of images and masks, None for a generated dataset. A ``UserError`` names the folder or the
    first file that is missing or broken, an ``OSError`` what the file system refuses.
    """
    spec = preparable(name)
    variant = variant or spec.default_variant
    if spec.generated and source is not None:
        raise UserError(f"{name} is generated and takes no --source.")
    spec.check_variant(variant)
    images = None if spec.generated else _source_folder(name, source)
    data_dir = Path(data_dir)
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
    """Makes a dataset that is generated where it is missing, and returns whether it did; others are left alone."""
    missing = DATASETS[name].generated and not is_prepared(name, data_dir, variant)
    if missing:
        prepare(name, None, data_dir, variant, say)
    return missing


def summary(name: str, data_dir: str | Path, variant: str) -> str:
    """What a prepared dataset holds: images found, images of each class, and the command to run next."""
    dataset = open_dataset(name, data_dir, variant)
    lines, metadata = [], tfds.builder_from_directory(dataset_folder(name, data_dir, variant)).info.metadata
    for part, index in metadata["splits"].items():
        bare = f" ({index['without_mask']:,} more without a mask)" if index["without_mask"] else ""
        lines.append(f"{part}: found {len(index['ids']):,} of {index['wanted']:,} images{bare}")
    command = "  " + dataset.spec.train_command(data_dir, variant)
    return "\n".join([*lines, "", *_class_table(dataset), "", "Next:", command])


def _source_folder(name: str, source: str | Path | None) -> Path:
    if source is None:
        raise UserError(f"--source is missing: {name} is made from a folder of images and masks.")
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"--source {folder} is not a folder.")
    if not any(folder.iterdir()):
        raise UserError(f"--source {folder} is an empty folder.")
    return folder


def _class_table(dataset: Dataset) -> list[str]:
    names, least = dataset.class_names, dataset.spec.min_pixels
    width = max(map(len, names))
    lines = [f"{'images with':{width}}      train               val", f"{'':{width}}" + f"    any  >= {least} px" * 2]
    columns = [(split.counts >= n).sum(axis=0) for split in (dataset.train, dataset.test) for n in (1, least)]
    for name, train, train_large, test, test_large in list(zip(names, *columns, strict=True))[1:]:
        lines.append(f"{name:{width}}  {train:5,}  {train_large:10,}  {test:5,}  {test_large:10,}")
    return lines
