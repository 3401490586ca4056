"""Verifying prepared datasets: the files by their checksums, every record by the index."""

import json
from pathlib import Path

import numpy as np

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import VERSION, Split, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.labels import IGNORE
from mmnet_jax.storage.files import sha256


def check(data_dir: str | Path, say: Say, progress: Say | None = None) -> None:
    """Verifies every prepared dataset in ``data_dir``, and says one line of each.

    Raises:
      UserError: there is none; or some are damaged, of which it names the files, what is wrong and what to do.
    """
    data_dir = Path(data_dir)
    folders = [folder for name in DATASETS for folder in sorted(data_dir.glob(f"{name}/*/{VERSION}"))]
    if not folders:
        raise UserError(f"--data_dir {data_dir} holds no prepared dataset.")
    damaged = []
    for folder in folders:
        try:
            say(f"{folder}: {_verify(folder, data_dir, progress)}")
        except UserError as error:
            damaged.append(str(error))
            say(f"{folder}: damaged")
    if damaged:
        raise UserError("; ".join(damaged))


def _verify(folder: Path, data_dir: Path, progress: Say | None) -> str:
    """What was verified; a ``UserError`` names the first file or image that is damaged."""
    name, variant = folder.parts[-3:-1]
    advice = f"remove {folder} and prepare it again: {DATASETS[name].prepare_command(data_dir, variant)}"
    for file in ("dataset_info.json", "features.json", "metadata.json"):
        try:
            about = json.loads((folder / file).read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / file} cannot be read ({error}); {advice}") from None
    checksums = about.get("checksums", {})
    for file, expected in checksums.items():
        if not (folder / file).is_file():
            raise UserError(f"{folder / file} is missing; {advice}")
        if sha256(folder / file) != expected:
            raise UserError(f"{folder / file} is not as it was written: its SHA-256 has changed; {advice}")
    dataset = open_dataset(name, data_dir, variant)
    total, done = len(dataset.train) + len(dataset.test), 0
    with Progress(f"{name} {variant}: image", total, "images", progress) as bar:
        for split in (dataset.train, dataset.test):
            for i in range(len(split)):
                try:
                    _verify_record(split, i, decode=not checksums)
                except UserError as error:
                    raise UserError(f"{folder}: {str(error).rstrip('.')}; {advice}") from None
                done += 1
                bar.update(done)
    how = f"{len(checksums)} files with their checksums" if checksums else "all decoded, since it has no checksums"
    return f"whole, {total:,} images, {how}"


def _verify_record(split: Split, i: int, decode: bool) -> None:
    """Raises a ``UserError`` if a record is not what the index says, or with ``decode`` its image or mask is broken."""
    record, name = split.record(i)
    if record["id"].decode() != split.ids[i]:
        raise UserError(f"{name} has the id {record['id'].decode()}.")
    counts = record["counts"]
    if decode:
        image, mask = split.read_image(i), split.read_mask(i)
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: len(counts)]
        if image.shape[:2] != mask.shape:
            raise UserError(f"{name} has a mask of another size.")
    if not np.array_equal(counts, split.counts[i]):
        raise UserError(f"{name} has other pixel counts than the index.")
