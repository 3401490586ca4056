"""Shards: the files of a prepared dataset, each of successive images of a split, and each made whole or not at all."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from mmnet_jax.data.datasets.spec import Example, Listing
from mmnet_jax.data.records import VERSION, features, make_record, pack_counts, serialise
from mmnet_jax.data.workers import Count
from mmnet_jax.errors import UserError
from mmnet_jax.storage.files import naming, sha256, write_whole

SIZE = 500
"""Images of a shard. It does not depend on the workers, so the result does not either; a kill costs a worker one."""

MAX_SIDE = 4096
"""Longest side of an image, pixels: every batch is padded to the longest one of the dataset."""

RECORDS, NOTES = "records", "notes"
"""Folders of unfinished work: the finished shards, which become the dataset; and a note on each."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """Successive images of a split, and the name of the file they become."""

    split: str
    file: str
    ids: Sequence[str]
    sources: Sequence[Any]
    read: Callable[[Any], Example]
    classes: int

    def __str__(self) -> str:
        return self.file

    def inputs(self) -> str:
        """SHA-256 of what it is made from: ids, sources, and the sizes and times of the files that sources name."""
        digest = hashlib.sha256(json.dumps([VERSION, self.classes, list(self.ids)]).encode())
        for source in self.sources:
            digest.update(repr([source, *map(_state, _files(source))]).encode())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Note:
    """The index of a finished shard, a JSON file written after it; a shard without its note does not count."""

    split: str
    file: str
    inputs: str
    """``Shard.inputs`` when it was made."""
    sha256: str
    size: int
    """Size of the shard's file, bytes."""
    max_side: int
    """Longest side of its images, pixels."""
    ids: Sequence[str]
    counts: Sequence[Sequence[int]]
    """Pixels of each class, as ``pack_counts`` packs them."""
    left_out: Mapping[str, str]
    """Id of an image that is not in the shard -> the sentence that says why."""
    turned: Sequence[str]
    """Ids of images that were turned as their EXIF orientation says."""


def cut(name: str, listings: Mapping[str, Listing], classes: int) -> list[Shard]:
    """The shards of all splits, in order."""
    shards = []
    for split, listing in listings.items():
        number = -(-len(listing.ids) // SIZE)
        for i in range(number):
            part = slice(i * SIZE, (i + 1) * SIZE)
            file = f"{name}-{split}.array_record-{i:05}-of-{number:05}"
            shards.append(Shard(split, file, listing.ids[part], listing.sources[part], listing.read, classes))
    return shards


def make(shard: Shard, count: Count, *, folder: Path, skip: bool) -> None:
    """Makes a shard in ``folder``/records and its note in ``folder``/notes; counts each image.

    A ``UserError`` names the first image that cannot be used; with ``skip`` it is left out instead.
    """
    inputs = shard.inputs()  # before the files are read: a change meanwhile is seen by the next run
    ids, counts, turned, left_out, longest = [], [], list[str](), dict[str, str](), 0
    fields, part = features(shard.classes), folder / NOTES / f".{shard.file}.{os.getpid()}.part"
    try:
        with naming(folder):
            writer = ArrayRecordWriter(str(part), "group_size:1")
            for identity, source in zip(shard.ids, shard.sources, strict=True):
                try:
                    example = shard.read(source)
                    record, side = _usable_record(identity, example, shard.classes)
                except UserError as error:
                    if not skip:
                        raise UserError(f"{str(error).rstrip('.')}; --on_error=skip leaves out such images.") from None
                    left_out[identity] = str(error)
                else:
                    writer.write(serialise(record, fields))
                    ids.append(identity)
                    counts.append(pack_counts(record["counts"]))
                    longest = max(longest, side)
                    if record["image"] is not example.image:
                        turned.append(identity)
                count(1)
            writer.close()
            about = inputs, sha256(part), part.stat().st_size, longest, ids, counts, left_out, turned
            note = Note(shard.split, shard.file, *about)
            part.replace(folder / RECORDS / shard.file)
            write_whole(_note_file(shard, folder), json.dumps(dataclasses.asdict(note)).encode())
    finally:
        part.unlink(missing_ok=True)


def read_note(shard: Shard, folder: Path) -> Note | None:
    """The note that ``make`` wrote for a shard; None if the shard has not been made."""
    try:
        note = Note(**json.loads(_note_file(shard, folder).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return note if (folder / RECORDS / shard.file).is_file() else None


def is_finished(shard: Shard, folder: Path, skip: bool) -> bool:
    """Whether the shard has been made of the same inputs and, without ``skip``, with all of its images."""
    note = read_note(shard, folder)
    return note is not None and (skip or not note.left_out) and note.inputs == shard.inputs()


def keep(shards: Sequence[Shard], folder: Path) -> int:
    """Makes the folders of unfinished work, and removes from them all but the given shards; returns notes removed."""
    kept = {RECORDS: {shard.file for shard in shards}, NOTES: {_note_file(shard, folder).name for shard in shards}}
    removed = 0
    for name in (NOTES, RECORDS):  # a shard without a note does not count, a note without its shard should not be
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file in (folder / name).iterdir():
            if file.name not in kept[name]:
                removed += file.suffix == ".json" and name == NOTES
                shutil.rmtree(file) if file.is_dir() else file.unlink()
    return removed


def _usable_record(identity: str, example: Example, classes: int) -> tuple[dict[str, Any], int]:
    """The record of an image, and its longer side; a ``UserError`` names an image or mask that cannot be used."""
    record, (height, width) = make_record(identity, example, classes)
    if max(height, width) > MAX_SIDE:
        raise UserError(
            f"{example.image_name} is {width:,} x {height:,} pixels, and every batch is padded to the longest side of "
            f"any image: scale it and its mask down to sides of at most {MAX_SIDE:,}."
        )
    return record, max(height, width)


def _note_file(shard: Shard, folder: Path) -> Path:
    return folder / NOTES / f"{shard.file}.json"


def _files(source: Any) -> Iterator[Path]:
    if isinstance(source, Path):
        yield source
    elif isinstance(source, tuple | list):
        for part in source:
            yield from _files(part)


def _state(file: Path) -> tuple[int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
