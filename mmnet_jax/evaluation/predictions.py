"""Scores of masks from files, one PNG for each episode of a manifest, by the rules of its protocol; without jax."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from mmnet_jax.cli.progress import Progress, Say
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.sources import read_file
from mmnet_jax.data.masks import decode_stored
from mmnet_jax.errors import UserError, first_of
from mmnet_jax.evaluation.manifest import Manifest
from mmnet_jax.evaluation.metrics import score
from mmnet_jax.evaluation.result import Result, Sample
from mmnet_jax.evaluation.saved_masks import mask_names
from mmnet_jax.evaluation.sheet import spread_over_classes
from mmnet_jax.labels import IGNORE


def scored_label(label: UInt8[np.ndarray, "h w"], manifest: Manifest) -> UInt8[np.ndarray, "m n"]:
    """A label as the manifest's protocol scores it: at its own size or squashed to a square; 255 may be background."""
    if side := manifest.rules.scoring_side:
        rows, columns = (np.arange(side) * length // side for length in label.shape)
        label = label[rows][:, columns]
    return np.where(label == IGNORE, 0, label) if manifest.ignored_is_background else label


def read_prediction(folder: Path, name: str) -> np.ndarray:
    """The pixels of a mask's PNG, ``[h, w]``, foreground if not 0; a ``UserError`` if it cannot be read."""
    return decode_stored(read_file(folder / name), name)


def count_pixels(predicted: Bool[np.ndarray, "h w"], label: UInt8[np.ndarray, "h w"]) -> Integer[np.ndarray, "3 2"]:
    """Pixels of intersection, union and label, each for background and foreground; 255 does not count."""
    background, foreground = label == 0, label == 1
    area = np.array([np.count_nonzero(background), np.count_nonzero(foreground)])
    wrong = np.array([np.count_nonzero(background & predicted), np.count_nonzero(foreground & ~predicted)])
    return np.stack([area - wrong, area + wrong[::-1], area])


def score_predictions(
    manifest: Manifest, dataset: Dataset, folder: Path, *, samples: int = 0, say: Say | None = None
) -> Result:
    """Scores the masks ``mask_names`` in a folder: pixels that are not 0 are foreground, sizes are ``scored_label``'s.

    Args:
      dataset: contains the labels of the manifest's images.
      samples: number of episodes, spread over the classes, whose predictions the result keeps.
      say: called with progress lines, and with a note if masks look like probabilities.

    Raises:
      UserError: naming all masks that are missing, surplus, of another size or unreadable, and unreadable labels.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give one with a mask for each episode: 000000.png and so on.")
    specs, names = manifest.specs(dataset), mask_names(manifest.seeds, manifest.per_seed)
    present = _masks_in(folder, names)
    faults = [(-1, "surplus", name) for name in sorted(present.difference(names))]  # episode, kind, text
    counts, graded = np.zeros((len(specs), 3, 2), np.int64), []

    def count(i: int) -> None:
        if names[i] not in present:
            faults.append((i, "missing", names[i]))
            return
        kind = "of an unreadable label"
        try:
            label = scored_label(dataset.test.read_label(specs[i].query, specs[i].class_id), manifest)
            kind = "unreadable"
            stored = read_prediction(folder, names[i])
        except UserError as error:
            faults.append((i, kind, str(error).rstrip(".")))
            return
        if stored.shape != label.shape:
            found, expected = (f"{shape[1]} x {shape[0]}" for shape in (stored.shape, label.shape))
            faults.append((i, "of the wrong size", f"{names[i]} has {found} pixels instead of {expected}"))
            return
        predicted = stored != 0
        counts[i] = count_pixels(predicted, label)
        if (stored[predicted] != stored.max()).any():
            graded.append(names[i])

    with ThreadPoolExecutor() as threads, Progress("episode", len(specs), "episodes", say) as progress:
        for number, _ in enumerate(threads.map(count, range(len(specs))), 1):
            progress.update(number)
    if faults:
        kinds: dict[str, list[str]] = {}
        for _, kind, text in sorted(faults):
            kinds.setdefault(kind, []).append(text)
        listing = "; ".join(f"{len(texts):,} {kind} ({first_of(texts)})" for kind, texts in kinds.items())
        raise UserError(f"the masks in {folder} do not fit the manifest's {len(specs):,} episodes: {listing}.")
    if graded and say:
        examples = first_of(sorted(graded))
        say(f"note: {len(graded):,} masks have several values besides 0 ({examples}); all of them count as foreground.")
    intersection, union, area = np.moveaxis(counts, 1, 0)
    class_ids, queries = np.array([spec.class_id for spec in specs]), [e.query for e in manifest.episodes]
    scores = score(intersection, union, class_ids, queries, seeds=len(manifest.seeds), fold=manifest.fold)
    chosen = sorted(spread_over_classes(class_ids, samples))
    no_maps = None, np.zeros((0, 1, 1)), np.zeros(0, int)
    kept = tuple(Sample(i, read_prediction(folder, names[i]) != 0, *no_maps) for i in chosen)
    return Result(manifest, scores, {}, intersection, union, area, kept)


def _masks_in(folder: Path, names: list[str]) -> set[str]:
    """The PNG files in the folders of the expected names, without hidden files."""
    found = set()
    for place in {os.path.dirname(name) for name in names}:
        files = os.listdir(folder / place) if (folder / place).is_dir() else []
        found |= {os.path.join(place, f) for f in files if f.lower().endswith(".png") and not f.startswith(".")}
    return found
