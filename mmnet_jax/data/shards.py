"""Shards: the files of a prepared dataset, each of successive images of a split and written atomically."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from mmnet_jax.data.dataset import VERSION
from mmnet_jax.data.datasets.spec import Example, Listing
from mmnet_jax.data.records import features, make_record, pack_counts, serialise
from mmnet_jax.data.workers import Count
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming, sha256, write_atomically

SIZE = 500
"""Images of a shard, whatever the number of workers; a killed worker loses one shard."""

MAX_SIDE = 4096
"""Longest side of an image, pixels; batches are padded to the longest side of the dataset."""

RECORDS, NOTES = "records", "notes"
"""Folders of a preparation: finished shards, which become the dataset, and a note on each."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Successive images of a split, and the name of their file."""

    split: str
    file: str
    ids: Sequence[str]
    sources: Sequence[Any]
    read: Callable[[Any], Example]
    classes: int

    def __str__(self) -> str:
        return self.file

    def inputs(self) -> str:
        """SHA-256 of ids, sources, and the sizes and times of the sources' files."""
        digest = hashlib.sha256(json.dumps([VERSION, self.classes, list(self.ids)]).encode())
        for source in self.sources:
            files = (part for part in (source if isinstance(source, tuple) else ()) if isinstance(part, Path))
            digest.update(repr([source, *map(_size_and_time, files)]).encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Note:
    """The index of a finished shard, a JSON file written after it; a shard without a note is not finished."""

    split: str
    file: str
    inputs: str
    """``Shard.inputs`` before it was made."""
    sha256: str
    size: int
    """Size of the shard's file, bytes."""
    max_side: int
    """Longest side of its images, pixels."""
    ids: Sequence[str]
    counts: Sequence[Sequence[int]]
    """Pixels of each class, as of ``pack_counts``."""
    left_out: Mapping[str, str]
    """Id of an image left out of the shard -> the reason."""
    turned: Sequence[str]
    """Ids of images whose EXIF orientation was applied."""


def cut_shards(name: str, listings: Mapping[str, Listing], classes: int) -> list[Shard]:
    """The shards of all splits, in order."""
    shards = []
    for split, listing in listings.items():
        number = -(-len(listing.ids) // SIZE)
        for i in range(number):
            part = slice(i * SIZE, (i + 1) * SIZE)
            file = f"{name}-{split}.array_record-{i:05}-of-{number:05}"
            shards.append(Shard(split, file, listing.ids[part], listing.sources[part], listing.read, classes))
    return shards


def make_shard(shard: Shard, count: Count, *, folder: Path, skip: bool) -> None:
    """Makes a shard in ``folder``/records and its note in ``folder``/notes; calls ``count(1)`` for each image.

    An image that cannot be used is a ``UserError``; with ``skip`` it is left out instead.
    """
    inputs = shard.inputs()  # before the files are read, so that the next run notices a change during the reading
    ids, counts, turned, left_out, longest = [], [], list[str](), dict[str, str](), 0
    fields, part = features(shard.classes), folder / NOTES / f".{shard.file}.{os.getpid()}.part"
    try:
        with naming(folder):
            writer = ArrayRecordWriter(str(part), "group_size:1")
            for identity, source in zip(shard.ids, shard.sources, strict=True):
                try:
                    example = shard.read(source)
                    record, size = make_record(identity, example, shard.classes)
                    _check_side(size, example.image_name)
                except UserError as error:
                    if not skip:
                        raise UserError(f"{str(error).rstrip('.')}; --on_error=skip leaves out such images.") from None
                    left_out[identity] = str(error)
                else:
                    writer.write(serialise(record, fields))
                    ids.append(identity)
                    counts.append(pack_counts(record["counts"]))
                    longest = max(longest, *size)
                    if record["image"] is not example.image:
                        turned.append(identity)
                count(1)
            writer.close()
            about = inputs, sha256(part), part.stat().st_size, longest, ids, counts, left_out, turned
            note = Note(shard.split, shard.file, *about)
            part.replace(folder / RECORDS / shard.file)
            write_atomically(_note_file(shard, folder), json.dumps(dataclasses.asdict(note)).encode())
    finally:
        part.unlink(missing_ok=True)


def read_note(shard: Shard, folder: Path) -> Note | None:
    """The note that ``make_shard`` wrote for a shard; None if the shard has not been made."""
    try:
        note = Note(**json.loads(_note_file(shard, folder).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return note if (folder / RECORDS / shard.file).is_file() else None


def is_finished(shard: Shard, folder: Path, skip: bool) -> bool:
    """Whether the shard has been made of the same inputs and, unless ``skip``, with all of its images."""
    note = read_note(shard, folder)
    return note is not None and (skip or not note.left_out) and note.inputs == shard.inputs()


def keep_shards(shards: Sequence[Shard], folder: Path) -> int:
    """Makes the folders of a preparation, and removes all other shards from them; returns how many had a note."""
    kept = {RECORDS: {shard.file for shard in shards}, NOTES: {_note_file(shard, folder).name for shard in shards}}
    removed = 0
    for name in (NOTES, RECORDS):  # notes first, so that none is left without its shard
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in (folder / name).iterdir():
            if file.name not in kept[name]:
                removed += file.suffix == ".json" and name == NOTES
                shutil.rmtree(file) if file.is_dir() else file.unlink()
    return removed


def _check_side(size: tuple[int, int], name: str) -> None:
    if max(size) > MAX_SIDE:
        raise UserError(
            f"{name} is {size[1]:,} x {size[0]:,} pixels, and every batch is padded to the longest side of any image: "
            f"scale it and its mask down to sides of at most {MAX_SIDE:,}."
        )


def _note_file(shard: Shard, folder: Path) -> Path:
    return folder / NOTES / f"{shard.file}.json"


def _size_and_time(file: Path) -> tuple[int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
