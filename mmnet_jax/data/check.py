"""Verification of prepared datasets: files by their checksums, records by the index."""

import json
from pathlib import Path

import numpy as np

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import VERSION, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import sha256


def check(data_dir: str | Path, say: Say, progress: Say | None = None) -> None:
    """Verifies every prepared dataset in ``data_dir``; ``say`` gets one line for each.

    Raises:
      UserError: there is none, or some are damaged or have no checksums: it names the files, the fault and the remedy.
    """
    data_dir = Path(data_dir)
    folders = [folder for name in DATASETS for folder in sorted(data_dir.glob(f"{name}/*/{VERSION}"))]
    if not folders:
        raise UserError(f"--data_dir {data_dir} holds no prepared dataset.")
    damages = []
    for folder in folders:
        name, variant = folder.parts[-3:-1]
        try:
            say(f"{folder}: {_verify(folder, name, data_dir, variant, progress)}")
        except UserError as error:
            command = DATASETS[name].prepare_command(data_dir, variant)
            damages.append(f"{str(error).rstrip('.')}; remove {folder} and prepare it again: {command}")
            say(f"{folder}: damaged, or not verifiable")
    if damages:
        raise UserError("; ".join(damages))


def _verify(folder: Path, name: str, data_dir: Path, variant: str, progress: Say | None) -> str:
    """A summary of what was verified; raises a ``UserError`` that names the first damaged file or image."""
    for file in ("dataset_info.json", "features.json", "metadata.json"):
        try:
            metadata = json.loads((folder / file).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / file} cannot be read ({error}).") from None
    if "checksums" not in metadata:
        raise UserError(f"{folder} was prepared by an earlier version, without checksums.")
    for file, expected in metadata["checksums"].items():
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing.")
        if sha256(folder / file) != expected:
            raise UserError(f"{folder / file} has changed since it was written: its SHA-256 differs.")
    dataset = open_dataset(name, data_dir, variant)
    images = [(split, i) for split in (dataset.train, dataset.test) for i in range(len(split))]
    with Progress(f"{name} {variant}: image", len(images), "images", progress) as bar:
        for done, (split, i) in enumerate(images, 1):
            record, name = split.record(i)
            if record["id"].decode() != split.ids[i]:
                raise UserError(f"{folder}: {name} has the id {record['id'].decode()}.")
            if not np.array_equal(record["counts"], split.counts[i]):
                raise UserError(f"{folder}: {name} has other pixel counts than the index.")
            bar.update(done)
    return f"complete, {len(images):,} images, {len(metadata['checksums'])} files with their checksums"
