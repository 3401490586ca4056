"""Segments a user's images with a support set and writes masks, overlays, sheets and ``predictions.json``."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Progress
from mmnet_jax.data.images import read_image
from mmnet_jax.data.transforms.evaluation import fitted_size
from mmnet_jax.drawing.images import overlay, png_bytes
from mmnet_jax.errors import UserError
from mmnet_jax.inference import sheet
from mmnet_jax.inference.folder import PREDICTIONS, find_images
from mmnet_jax.inference.segmenter import Segmenter
from mmnet_jax.inference.supports import Supports
from mmnet_jax.models.network import FewShotNetwork
from mmnet_jax.ops.resize import resize_on_host
from mmnet_jax.storage.files import atomic_files


class QueryResult(NamedTuple):
    """The segmentation of one query."""

    query: Path
    size: tuple[int, int]
    """Height and width, pixels."""
    fraction: float
    """Predicted foreground, as a fraction of the pixels."""
    probability: float | None
    """Mean foreground probability over the predicted mask, in [0.5, 1]; None if the mask is empty."""
    files: list[Path]
    """Mask, overlay and optionally logits."""

    def summary(self) -> str:
        """A short description, such as ``12.3% found, mean probability 0.88``."""
        if self.probability is None:
            return "nothing found"
        percent = f"{100 * self.fraction:.1f}" if self.fraction >= 0.001 else "under 0.1"
        return f"{percent}% found, mean probability {self.probability:.2f}"

    def entry(self) -> dict[str, Any]:
        """The entry in ``predictions.json``."""
        (height, width), names = self.size, [file.name for file in self.files]
        numbers = {"width": width, "height": height, "foreground": self.fraction, "probability": self.probability}
        return {"image": str(self.query), **numbers, **dict(zip(("mask", "overlay", "logits"), names, strict=False))}


def find_queries(
    paths: Sequence[str | Path],
    output: str | Path,
    keep: Sequence[str | Path] = (),
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """The images to segment: files, and those of folders by ``find_images``. Each is decoded once as a check.

    Reports to ``say`` what it skips in a folder. Raises ``UserError`` naming a path that is missing, broken or empty,
    or a query or file in ``keep`` that a result in the folder ``output`` would overwrite.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file, not a folder.")
    queries: list[Path] = []
    for path in map(Path, paths):
        found = [path]
        if path.is_dir():
            if output.exists() and path.samefile(output):
                raise UserError(f"--output {output} is also a --query; choose another folder.")
            found, skipped = find_images(path)
            if not found:
                raise UserError(f"folder {path} holds no readable picture{skipped and f', but {skipped}'}.")
            if skipped and say:
                say(f"skipped in {path}: {skipped}")
        queries += found
    queries = list({os.path.abspath(query): query for query in queries}.values())  # a file named twice is one query
    protected = {file.resolve(): file for file in [*map(Path, keep), *queries]}
    first: dict[str, Path] = {}
    for query in queries:
        if (other := first.setdefault(query.stem, query)) is not query:
            raise UserError(f"queries {other} and {query} would both write {query.stem}_mask.png; rename one.")
    results = {file: f"the result of {q}" for q in queries for file in result_files(q, output, save_logits=True)}
    results |= dict.fromkeys(summary_files(len(queries), output), "the sheet of results")
    for file, result in results.items():
        if file.resolve() in protected:
            raise UserError(f"{protected[file.resolve()]} would be overwritten by {result}; choose another --output.")
        if file.is_dir():
            raise UserError(f"{file} is a folder, so {result} cannot be written; choose another --output.")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda query: read_image(query).shape, queries))
    return queries


def segment_images(
    model: FewShotNetwork,
    variables: Mapping[str, Any],
    config: ConfigDict,
    supports: Supports,
    queries: Sequence[Path],
    output: Path,
    *,
    save_logits: bool = False,
    made_by: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[QueryResult]:
    """Segments all queries with one support set and writes the results.

    Writes ``NAME_mask.png`` (255 foreground, 0 background) and ``NAME_overlay.png`` of each query's own size; with
    ``save_logits`` also ``NAME.npy``: float32 [S, S, 2], background and foreground, padding included. Writes
    ``sheet.png`` with its further pages, and ``predictions.json``, which begins with ``made_by``. All files appear at
    the end, or none.

    Raises ``UserError`` naming a query that is missing or broken, and ``OSError`` naming the file at fault, or
    ``output`` if its disk is full.
    """
    results: list[QueryResult] = []
    segmenter = Segmenter(model, variables, config, supports)
    count, side = len(queries), sheet.tile_side(len(queries))
    with Progress("image", count, "images", say) as progress, atomic_files(output, PREDICTIONS) as folder:
        *sheets, predictions = summary_files(count, folder)
        for page, file in enumerate(sheets):
            cells = []
            first = page * sheet.QUERIES_PER_SHEET
            for query in queries[first : first + sheet.QUERIES_PER_SHEET]:
                image, encoded = segmenter.encode(query)
                logits = segmenter.predict(encoded).logits
                margin = foreground_margin(logits, image.shape[:2])
                full = resize_on_host(margin, image.shape[:2])
                mask = full > 0
                probability = float(sheet.foreground_probability(full[mask]).mean()) if mask.any() else None
                files = result_files(query, output, save_logits)
                results.append(QueryResult(query, mask.shape, float(mask.mean()), probability, files))
                (folder / files[0].name).write_bytes(png_bytes(mask.astype(np.uint8) * 255))
                (folder / files[1].name).write_bytes(png_bytes(overlay(image, mask)))
                if save_logits:
                    np.save(folder / files[2].name, logits)
                cells.append(sheet.query_cell(image, mask, margin, side, (query.name, results[-1].summary())))
                progress.update(len(results))
            file.write_bytes(png_bytes(sheet.draw_sheet(supports.examples, cells, page, len(sheets), count)))
        numbers = dict(made_by or {}) | {
            "supports": [example.entry() for example in supports.examples],
            "queries": [result.entry() for result in results],
            "sheets": [file.name for file in sheets],
        }
        predictions.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    return results


def result_files(query: Path, output: str | Path, save_logits: bool) -> list[Path]:
    """Files of one query: mask, overlay and optionally logits."""
    names = [query.stem + end for end in ("_mask.png", "_overlay.png", ".npy")]
    return [Path(output) / name for name in names[: 3 if save_logits else 2]]


def summary_files(queries: int, output: str | Path) -> list[Path]:
    """``sheet.png``, ``sheet_2.png`` and so on for many queries, and ``predictions.json`` last."""
    further = [f"sheet_{page + 1}.png" for page in range(1, -(-queries // sheet.QUERIES_PER_SHEET))]
    return [Path(output) / name for name in ("sheet.png", *further, PREDICTIONS)]


def foreground_margin(logits: Float[np.ndarray, "s s 2"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Foreground minus background logit of an image of height and width ``size``, without the padding."""
    height, width = fitted_size(np.array(size), logits.shape[0]).tolist()
    return logits[:height, :width, 1] - logits[:height, :width, 0]
