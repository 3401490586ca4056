"""Preparing a dataset, which appears whole or not at all, and the summary of one that is prepared."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow_datasets as tfds

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import VERSION, Dataset, dataset_folder, find_spec, is_prepared, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import Listing
from mmnet_jax.data.records import features
from mmnet_jax.data.shards import RECORDS, Note, Shard, cut, is_finished, keep, make, read_note
from mmnet_jax.data.workers import available_cores, share_out
from mmnet_jax.errors import UserError, first_of
from mmnet_jax.storage.files import LOCK, naming, removed_if_empty
from mmnet_jax.storage.lock import turn

OnError = Literal["stop", "skip"]
"""Whether an unusable image ends the preparation or is left out."""

MOST_WORKERS = 8
"""Worker processes where the user gives no number and there are more cores."""

MOST_ROWS = 100
"""Rows of a table of classes; of more classes a line tells how many have images."""

LEAST = 2
"""Images of a class that an episode needs: a query and a support."""

SHOWN = 5
"""Ids that a message shows."""

FEW = 100
"""Images that one process makes in the time that others take to start."""


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
    """Prepares a variant of a dataset (None: the default) and returns its folder; one that is there is left as it is.

    ``source`` is the folder of images and masks, None for a generated dataset. ``workers`` processes share the work
    (None: one for each core, 8 at most); the result does not depend on them. ``folds`` is the number of parts into
    which a user's own classes are divided (None: as its file says, or 4 at most). The folder appears at the end, whole.
    If this is interrupted or killed, finished shards stay in a hidden folder beside it; the next call makes the rest.

    Raises:
      UserError: names the folder, or the first image or mask that is missing or broken; with ``on_error="skip"`` such
        images are left out, and it is raised only if no image is left.
      OSError: names what the file system refuses.
    """
    spec = find_spec(name)
    variant = variant or spec.default_variant
    if spec.generated and source is not None:
        raise UserError(f"{name} is generated and takes no --source.")
    spec.check_variant(variant)
    images = None if spec.generated else _source_folder(name, source)
    data_dir = Path(data_dir)
    folder = dataset_folder(name, data_dir, variant)
    work = folder.with_name(f".{VERSION}.unfinished")
    if folder.exists():
        if not is_prepared(name, data_dir, variant):
            raise UserError(f"{folder} is there but holds no whole dataset; remove it and prepare {name} again.")
        shutil.rmtree(work, ignore_errors=True)  # left by a run that was killed after its last step
        return folder
    say = say or (lambda line: None)
    if images:
        say(f"{name}: reading what is in {images}")
    if data_dir.exists() and not data_dir.is_dir():
        raise UserError(f"--data_dir {data_dir} is a file, not a folder.")
    classes = spec.read_classes(images, variant, folds) if images else None
    listings = spec.build(images, variant)
    for split, listing in listings.items():
        if listing.missing:
            say(f"{name}: not found, or without a mask, for the {split} split: {first_of(listing.missing, SHOWN)}")
    class_names = spec.with_classes(classes).class_names
    shards = cut(name, listings, len(class_names))
    with naming(data_dir), removed_if_empty(work):
        data_dir.mkdir(parents=True, exist_ok=True)
        with turn(work / LOCK, lambda: say(f"waiting for another process that prepares {folder}")):
            try:
                if not is_prepared(name, data_dir, variant):
                    notes = _make(shards, work, workers, on_error == "skip", name, say)
                    about = {"class_names": list(class_names)} | ({"classes": classes._asdict()} if classes else {})
                    _register(f"{name} {variant}", about, listings, notes, work / RECORDS)
                    (work / RECORDS).rename(folder)
            finally:
                if folder.exists() or not any(note.ids for shard in shards if (note := read_note(shard, work))):
                    shutil.rmtree(work, ignore_errors=True)
    return folder


def _make(shards: Sequence[Shard], work: Path, workers: int | None, skip: bool, name: str, say: Say) -> list[Note]:
    """Makes the shards that earlier runs have not finished; returns the notes of all."""
    missing = {shard.file: shard for shard in shards if not is_finished(shard, work, skip)}
    if removed := keep([shard for shard in shards if shard.file not in missing], work):
        say(f"{name}: {removed:,} files of an earlier run are made again: their images have changed or were left out.")
    total = sum(len(shard.ids) for shard in shards)
    left = sum(len(shard.ids) for shard in missing.values())
    if left < total:
        say(f"{name}: {total - left:,} of {total:,} images are there from an earlier run.")
    with Progress(f"{name}: image", total, "images", say, start=total - left) as progress:

        def count(more: int) -> None:
            nonlocal left
            left -= more
            progress.update(total - left)

        workers = workers or min(MOST_WORKERS, available_cores())
        task = functools.partial(make, folder=work, skip=skip)
        try:
            share_out(task, list(missing.values()), workers if left >= FEW else 1, count)
        except BaseException:
            finished = [shard for shard in shards if read_note(shard, work)]
            keep(finished, work)
            if kept := sum(len(shard.ids) for shard in finished):
                say(f"{name}: {kept:,} of {total:,} images are done and kept; the same command goes on from there.")
            raise
    notes = [note for shard in shards if (note := read_note(shard, work))]
    left_out = {identity: sentence for note in notes for identity, sentence in note.left_out.items()}
    if len(left_out) == total:
        raise UserError(f"none of the {total:,} images can be used; the first: {next(iter(left_out.values()))}")
    for identity, sentence in left_out.items():
        say(f"left out {identity}: {sentence}")
    if turned := [identity for note in notes for identity in note.turned]:
        say(f"{name}: turned as EXIF says: {first_of(turned, SHOWN)}; make sure that their masks are upright too.")
    return notes


def _register(
    title: str, about: dict[str, Any], listings: Mapping[str, Listing], notes: Sequence[Note], records: Path
) -> None:
    """Writes what TFDS and ``open_dataset`` read beside the records; ``about`` tells the classes."""
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
        else:  # TFDS knows no split without records
            for note in own:
                (records / note.file).unlink()
    about = about | {"max_side": max(note.max_side for note in notes)}
    tfds.folder_dataset.write_metadata(
        data_dir=records,
        features=features(len(about["class_names"])),
        split_infos=infos,
        version=VERSION,
        check_data=False,  # that needs TensorFlow
        description=title,
        disable_shuffling=True,  # test episodes follow the lists
        metadata=tfds.core.MetadataDict(**about, splits=splits, checksums=checksums),
    )


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
    for split, index in metadata["splits"].items():
        rest = {"without a mask": index["without_mask"], "left out": len(index.get("left_out", ()))}
        more = ", ".join(f"{number:,} more {how}" for how, number in rest.items() if number)
        found = f"{split}: found {len(index['ids']):,} of {index['wanted']:,} images"
        lines.append(f"{found} ({more})" if more else found)
    command = "  " + dataset.spec.train_command(data_dir, variant)
    own = [*_folds(dataset), *_too_few(dataset)] if dataset.brought else []
    return "\n".join([*lines, "", *_class_table(dataset), *own, "", "Next:", command])


def _source_folder(name: str, source: str | Path | None) -> Path:
    if source is None:
        raise UserError(f"--source is missing: it names the folder that {name} is made from.")
    folder = Path(source).absolute()  # the same however it is spelled, so that a later run knows the files again
    if not folder.is_dir():
        raise UserError(f"--source {folder} is not a folder.")
    if not any(folder.iterdir()):
        raise UserError(f"--source {folder} is an empty folder.")
    return folder


def _folds(dataset: Dataset) -> list[str]:
    """One line for each fold, with the classes that it holds out."""
    lines = []
    for fold in range(dataset.spec.folds):
        names = [dataset.class_names[c] for c in dataset.classes(fold, "novel")]
        nothing = "" if dataset.classes(fold, "base") else ", and no class is left to train on"
        lines.append(f"fold {fold} holds out {first_of(names, 2 * SHOWN)}{nothing}")
    return lines


def _too_few(dataset: Dataset) -> list[str]:
    """One line for each split in which a class that is asked for there has too few images for any episode."""
    lines, folds = [], range(dataset.spec.folds)
    trained = {c for fold in folds for c in dataset.classes(fold, "base")}
    tested = {c for fold in folds for c in (*dataset.classes(fold, "novel"), *dataset.classes(fold, "val"))}
    for split, classes in (dataset.train, trained), (dataset.test, tested):
        images = (split.counts >= dataset.spec.min_pixels).sum(axis=0)
        few = ", ".join(f"{dataset.class_names[c]} ({images[c]})" for c in sorted(classes) if images[c] < LEAST)
        if few:
            lines.append(f"too few images in {split.name}, where even a 1-shot episode needs {LEAST} of a class: {few}")
    return lines


def _class_table(dataset: Dataset) -> list[str]:
    names, least = dataset.class_names, dataset.spec.min_pixels
    if len(names) > MOST_ROWS:
        found = [(split.counts[:, 1:] >= least).any(axis=0).sum() for split in (dataset.train, dataset.test)]
        return [f"classes with an image: {found[0]:,} in train and {found[1]:,} in val, of {len(names) - 1:,}"]
    width = max(map(len, names))
    lines = [f"{'images with':{width}}      train               val", f"{'':{width}}" + f"    any  >= {least} px" * 2]
    columns = [(split.counts >= n).sum(axis=0) for split in (dataset.train, dataset.test) for n in (1, least)]
    for name, train, train_large, test, test_large in list(zip(names, *columns, strict=True))[1:]:
        lines.append(f"{name:{width}}  {train:5,}  {train_large:10,}  {test:5,}  {test_large:10,}")
    return lines
