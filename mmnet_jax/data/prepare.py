"""Preparation of a dataset, all or nothing, and the summary of a prepared one."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow_datasets as tfds

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import VERSION, Dataset, dataset_folder, find_spec, is_prepared, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import DatasetSpec, Listing, Part
from mmnet_jax.data.records import features
from mmnet_jax.data.shards import RECORDS, Note, Shard, cut_shards, is_finished, keep_shards, make_shard, read_note
from mmnet_jax.data.workers import available_cores, distribute
from mmnet_jax.errors import UserError, first_of
from mmnet_jax.storage.files import LOCK, naming, removed_if_empty
from mmnet_jax.storage.lock import exclusive

OnError = Literal["stop", "skip"]
"""Behaviour on an unusable image: end the preparation, or leave the image out."""

MAX_WORKERS = 8
"""Maximum of the default number of worker processes."""

MAX_ROWS = 100
"""Maximum rows of the table of classes; more classes are counted in one line."""

MIN_IMAGES = 2
"""Images of a class that an episode needs: a query and a support."""

SHOWN = 5
"""Ids that a message shows."""

MIN_FOR_WORKERS = 100
"""Number of images below which starting worker processes does not pay."""


def prepare(
    name: str,
    source: str | Path | None,
    data_dir: str | Path,
    variant: str | None = None,
    say: Say | None = None,
    *,
    workers: int | None = None,
    on_error: OnError = "stop",
    folds: int | None = None,
) -> Path:
    """Prepares a variant of a dataset, unless it is prepared already, and returns its folder.

    The folder appears at the end, complete. If this is interrupted or killed, finished shards stay in a hidden folder
    beside it, and the next call makes the rest.

    Args:
      source: folder of images and masks; None for a generated dataset.
      variant: None for the default.
      workers: number of worker processes, on which the result does not depend; None: one a core, 8 at most.
      folds: number of parts into which a user's own classes are divided; None: by its file, or 4 at most.

    Raises:
      UserError: names the folder, or the first image or mask that is missing or broken; with ``on_error="skip"`` such
        images are left out, and it is raised only if no image is left.
      OSError: names the path that the file system refuses.
    """
    spec, data_dir = find_spec(name), Path(data_dir)
    variant = variant or spec.default_variant
    spec.check_variant(variant)
    images = _source_folder(spec, source)
    folder = dataset_folder(name, data_dir, variant)
    work = folder.with_name(f".{VERSION}.unfinished")
    if folder.exists():
        if not is_prepared(name, data_dir, variant):
            raise UserError(f"{folder} exists but holds no complete dataset; remove it and prepare {name} again.")
        shutil.rmtree(work, ignore_errors=True)  # a run may have been killed before it removed this folder
        return folder
    say = say or (lambda line: None)
    if not spec.generated:
        say(f"{name}: reading {images}")
    if data_dir.exists() and not data_dir.is_dir():
        raise UserError(f"--data_dir {data_dir} is a file, not a folder.")
    classes = spec.read_classes(images, variant, folds)
    listings = spec.build(images, variant)
    if not any(listing.ids for listing in listings.values()):
        raise UserError(f"{images} holds no image of {name} ({variant}) with its mask; {spec.layout}.")
    for split, listing in listings.items():
        if listing.missing:
            say(f"{name}: not found, or without a mask, for the {split} split: {first_of(listing.missing, SHOWN)}")
    class_names = spec.with_classes(classes).class_names
    shards = cut_shards(name, listings, len(class_names))
    with naming(data_dir), removed_if_empty(work):
        data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(work / LOCK, lambda: say(f"waiting for another process that prepares {folder}")):
            try:
                if not is_prepared(name, data_dir, variant):
                    notes = _make(shards, work, workers, on_error == "skip", name, say)
                    metadata = {"class_names": list(class_names)} | ({"classes": classes._asdict()} if classes else {})
                    _register(f"{name} {variant}", metadata, listings, notes, work / RECORDS)
                    (work / RECORDS).rename(folder)
            finally:
                if folder.exists() or not any(note.ids for shard in shards if (note := read_note(shard, work))):
                    shutil.rmtree(work, ignore_errors=True)
    return folder


def _make(shards: Sequence[Shard], work: Path, workers: int | None, skip: bool, name: str, say: Say) -> list[Note]:
    """Makes the shards that earlier runs have not finished; returns the notes of all."""
    missing = {shard.file: shard for shard in shards if not is_finished(shard, work, skip)}
    if removed := keep_shards([shard for shard in shards if shard.file not in missing], work):
        say(f"{name}: making {removed:,} files of an earlier run again, since their images changed or were left out.")
    total = sum(len(shard.ids) for shard in shards)
    left = sum(len(shard.ids) for shard in missing.values())
    if left < total:
        say(f"{name}: {total - left:,} of {total:,} images exist from an earlier run.")
    with Progress(f"{name}: image", total, "images", say, start=total - left) as progress:

        def count(more: int) -> None:
            nonlocal left
            left -= more
            progress.update(total - left)

        workers = workers or min(MAX_WORKERS, available_cores())
        task = functools.partial(make_shard, folder=work, skip=skip)
        try:
            distribute(task, list(missing.values()), workers if left >= MIN_FOR_WORKERS else 1, count)
        except BaseException:
            finished = [shard for shard in shards if read_note(shard, work)]
            keep_shards(finished, work)
            if kept := sum(len(shard.ids) for shard in finished):
                say(f"{name}: {kept:,} of {total:,} images are finished and kept; rerun the command to continue.")
            raise
    notes = [note for shard in shards if (note := read_note(shard, work))]
    left_out = {identity: sentence for note in notes for identity, sentence in note.left_out.items()}
    if len(left_out) == total:
        raise UserError(f"none of the {total:,} images can be used; the first: {next(iter(left_out.values()))}")
    for identity, sentence in left_out.items():
        say(f"left out {identity}: {sentence}")
    if rotated := [identity for note in notes for identity in note.turned]:
        say(f"{name}: rotated by EXIF: {first_of(rotated, SHOWN)}; make sure that their masks are upright too.")
    return notes


def _register(
    title: str, metadata: dict[str, Any], listings: Mapping[str, Listing], notes: Sequence[Note], records: Path
) -> None:
    """Writes the files that TFDS and ``open_dataset`` need beside the records; ``metadata`` holds the classes."""
    splits, infos, checksums = {}, [], {}
    for split, listing in listings.items():
        own = [note for note in notes if note.split == split]
        splits[split] = {
            "wanted": listing.wanted,
            "without_mask": listing.without_mask,
            "left_out": [identity for note in own for identity in note.left_out],
            "ids": [identity for note in own for identity in note.ids],
            "counts": [counts for note in own for counts in note.counts],
        }
        if splits[split]["ids"]:
            infos.append(tfds.core.SplitInfo(split, [len(note.ids) for note in own], sum(note.size for note in own)))
            checksums.update({note.file: note.sha256 for note in own})
        else:  # TFDS has no splits without records
            for note in own:
                (records / note.file).unlink()
    tfds.folder_dataset.write_metadata(
        data_dir=records,
        features=features(len(metadata["class_names"])),
        split_infos=infos,
        version=VERSION,
        check_data=False,  # that needs TensorFlow
        description=title,
        disable_shuffling=True,  # test episodes follow the lists
        metadata=tfds.core.MetadataDict(
            **metadata, max_side=max(note.max_side for note in notes), splits=splits, checksums=checksums
        ),
    )


def ensure_dataset(name: str, data_dir: str | Path, variant: str, say: Say) -> bool:
    """Generates a generated dataset if it is missing, and returns whether it did so."""
    missing = DATASETS[name].generated and not is_prepared(name, data_dir, variant)
    if missing:
        prepare(name, None, data_dir, variant, say)
    return missing


def summary(name: str, data_dir: str | Path, variant: str) -> str:
    """Summary of a prepared dataset: images found, images of each class, and the next command."""
    dataset = open_dataset(name, data_dir, variant)
    lines, metadata = [], tfds.builder_from_directory(dataset_folder(name, data_dir, variant)).info.metadata
    for split, index in metadata["splits"].items():
        rest = {"without a mask": index["without_mask"], "left out": len(index.get("left_out", ()))}
        more = ", ".join(f"{number:,} more {fault}" for fault, number in rest.items() if number)
        found = f"{split}: found {len(index['ids']):,} of {index['wanted']:,} images"
        lines.append(f"{found} ({more})" if more else found)
    own = [*_folds(dataset), *_too_few(dataset)] if dataset.source_classes else []
    command = f"  {dataset.spec.train_command(data_dir, variant)}"
    return "\n".join([*lines, "", *_class_table(dataset), *own, "", "Next:", command])


def _source_folder(spec: DatasetSpec, source: str | Path | None) -> Path:
    """The source folder as an absolute path; an empty path for a generated dataset."""
    if spec.generated:
        if source is not None:
            raise UserError(f"{spec.name} is generated and takes no --source.")
        return Path()
    if source is None:
        raise UserError(f"--source is missing: give the folder that {spec.name} is prepared from.")
    folder = Path(source).absolute()  # a rerun from another folder must find the same paths
    if not folder.is_dir():
        raise UserError(f"--source {folder} is not a folder.")
    if not any(folder.iterdir()):
        raise UserError(f"--source {folder} is an empty folder.")
    return folder


def _folds(dataset: Dataset) -> list[str]:
    """One line for each fold, with its novel classes."""
    lines = []
    for fold in range(dataset.spec.folds):
        names = [dataset.class_names[c] for c in dataset.classes(fold, "novel")]
        nothing = "" if dataset.classes(fold, "base") else ", which leaves no class to train on"
        lines.append(f"fold {fold} holds out {first_of(names, 2 * SHOWN)}{nothing}")
    return lines


def _too_few(dataset: Dataset) -> list[str]:
    """One line for each split with a class of too few images for any episode."""
    lines = []
    parts: dict[str, tuple[Part, ...]] = {"train": ("base",), "val": ("novel", "val")}
    for split in (dataset.train, dataset.test):
        images, folds = (split.counts >= dataset.spec.min_pixels).sum(axis=0), range(dataset.spec.folds)
        classes = {c for fold in folds for part in parts[split.name] for c in dataset.classes(fold, part)}
        few = ", ".join(f"{dataset.class_names[c]} ({images[c]})" for c in sorted(classes) if images[c] < MIN_IMAGES)
        if few:
            lines.append(f"too few images in {split.name}; a 1-shot episode needs {MIN_IMAGES} of a class: {few}")
    return lines


def _class_table(dataset: Dataset) -> list[str]:
    names, least = dataset.class_names, dataset.spec.min_pixels
    if len(names) > MAX_ROWS:
        found = [(split.counts[:, 1:] >= least).any(axis=0).sum() for split in (dataset.train, dataset.test)]
        return [f"classes with an image: {found[0]:,} in train and {found[1]:,} in val, of {len(names) - 1:,}"]
    width = max(map(len, names))
    lines = [f"{'images with':{width}}      train               val", f"{'':{width}}" + f"    any  >= {least} px" * 2]
    columns = [(split.counts >= n).sum(axis=0) for split in (dataset.train, dataset.test) for n in (1, least)]
    for name, train, train_large, test, test_large in list(zip(names, *columns, strict=True))[1:]:
        lines.append(f"{name:{width}}  {train:5,}  {train_large:10,}  {test:5,}  {test_large:10,}")
    return lines
