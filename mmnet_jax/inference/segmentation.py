"""A user's own pictures segmented by labelled examples of a class: masks, overlays, sheets and numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from PIL import Image

from mmnet_jax.cli.progress import Progress
from mmnet_jax.data.images import read_image
from mmnet_jax.data.transforms.evaluation import fitted_size, prepare_image
from mmnet_jax.drawing.pictures import overlay, resize_map
from mmnet_jax.errors import UserError
from mmnet_jax.inference.sheet import (
    QUERIES_PER_SHEET,
    Cell,
    cell_side,
    draw_cell,
    draw_sheet,
    foreground_probability,
    sheet_files,
)
from mmnet_jax.inference.supports import Box, Example, Supports
from mmnet_jax.models import FewShotNetwork
from mmnet_jax.storage.files import naming, whole_files

PREDICTIONS = "predictions.json"
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Which files of a folder are taken for pictures."""


class Answer(NamedTuple):
    """What was found in one query."""

    query: Path
    size: tuple[int, int]
    """Height and width, pixels."""
    share: float
    """Of its pixels, those in the mask; in [0, 1]."""
    probability: float | None
    """Of the foreground, its mean over the mask, in [0.5, 1]; None where nothing was found."""
    files: list[Path]
    """Mask, overlay and, if wanted, logits."""

    def summary(self) -> str:
        """In a few words."""
        if self.probability is None:
            return "nothing found"
        share = f"{100 * self.share:.1f}" if self.share >= 0.001 else "under 0.1"
        return f"{share}% found, mean probability {self.probability:.2f}"


def find_queries(paths: Sequence[str | Path], output: str | Path, keep: Sequence[str | Path] = ()) -> list[Path]:
    """The pictures to segment, those of a folder sorted by name, each decoded once to see that it can be.

    Args:
      paths: files and folders; a folder's own files count, those of its subfolders do not.
      output: the folder that results go to.
      keep: other files that no result may take the place of.

    Raises:
      UserError: naming what is missing, broken, empty, or would be overwritten.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file, not a folder.")
    queries: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            queries.append(path)
            continue
        if output.exists() and path.samefile(output):
            raise UserError(f"--output {output} is also a --query; its results would be taken for pictures.")
        found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
        if not found:
            raise UserError(f"folder {path} holds no picture.")
        queries += found
    queries = list({os.path.abspath(query): query for query in queries}.values())  # a file named twice is one query
    protected = {file.resolve(): file for file in [*map(Path, keep), *queries]}
    taken: dict[str, Path] = {}
    for query in queries:
        other = taken.setdefault(query.stem, query)
        if other is not query:
            raise UserError(f"queries {other} and {query} would both be written as {query.stem}_mask.png; rename one.")
    results = [(file, f"the result of {q}") for q in queries for file in result_files(q, output, save_logits=True)]
    results += [(file, "the sheet of results") for file in summary_files(len(queries), output)]
    for file, result in results:
        if file.resolve() in protected:
            raise UserError(f"{protected[file.resolve()]} would be overwritten by {result}; choose another --output.")
        if file.is_dir():
            raise UserError(f"{file} is a folder, in the way of {result}; choose another --output.")
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(lambda query: read_image(query).shape, queries):
            pass
    return queries


def segment_pictures(
    model: FewShotNetwork,
    variables: dict[str, Any],
    config: ConfigDict,
    supports: Supports,
    queries: Sequence[Path],
    output: str | Path,
    *,
    save_logits: bool = False,
    made_by: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Answer]:
    """Segments each query with the same supports, which are encoded once, and writes what it finds.

    For each query ``NAME_mask.png`` (255 where the class is, 0 elsewhere) and ``NAME_overlay.png``, both of the query's
    own size, and with ``save_logits`` ``NAME.npy``: float32 [S, S, 2], background and foreground, the test transform's
    padding included. For all together ``sheet.png`` with its further pages, and ``predictions.json`` with the numbers.
    Files are moved to their place at the end, once all are made; before that there is none.

    Args:
      model: the network.
      variables: its variables.
      config: resolved.
      supports: from ``read_supports``.
      queries: picture files, at least one, from ``find_queries``.
      output: folder, made if need be.
      save_logits: write the logits too.
      made_by: what ``predictions.json`` is to say of the network.
      say: gets lines of progress.

    Returns:
      An answer for each query, in order.

    Raises:
      UserError: naming the query that has gone or broken since.
      OSError: naming what the file system refuses, ``output`` where its disk is full.
    """
    apply = jax.jit(model.apply, static_argnames="method")
    state = apply(variables, supports.images, supports.labels, method="encode_support")
    batch = min(len(queries), config.evaluation.batch_size)
    side = cell_side(len(queries))
    answers: list[Answer] = []
    cells: list[Cell] = []
    with Progress("image", len(queries), "images", say) as progress, whole_files(Path(output), PREDICTIONS) as folder:
        sheets = sheet_files(len(queries), folder)
        for start in range(0, len(queries), batch):
            part = queries[start : start + batch]
            pictures = [read_image(query) for query in part]
            fitted = jnp.stack([prepare_image(picture, config.data.image_size) for picture in pictures])
            # The last batch is filled up, so that one shape is compiled.
            fitted = jnp.pad(fitted, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
            logits = np.asarray(apply(variables, fitted, state, method="segment").logits)
            for query, picture, own in zip(part, pictures, logits, strict=False):
                margin = margin_over_picture(own, picture.shape[:2])
                full = resize_map(margin, picture.shape[:2])
                mask = full > 0
                probability = float(foreground_probability(full[mask]).mean()) if mask.any() else None
                lasting = result_files(query, output, save_logits)
                answers.append(Answer(query, mask.shape, float(mask.mean()), probability, lasting))
                cells.append(draw_cell(picture, mask, margin, side, query.name, answers[-1].summary()))
                with naming(output):
                    files = result_files(query, folder, save_logits)
                    Image.fromarray(mask.astype(np.uint8) * 255).save(files[0])
                    Image.fromarray(overlay(picture, mask)).save(files[1])
                    if save_logits:
                        np.save(files[2], own)
                    if len(cells) == QUERIES_PER_SHEET or len(answers) == len(queries):
                        page = (len(answers) - 1) // QUERIES_PER_SHEET
                        sheet = draw_sheet(supports.examples, cells, page, len(sheets), len(queries))
                        Image.fromarray(sheet).save(sheets[page])
                        cells.clear()
            progress.update(start + len(part))
        numbers = _predictions(answers, supports.examples, made_by or {}, sheets)
        with naming(output):
            (folder / PREDICTIONS).write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    return answers


def result_files(query: Path, output: str | Path, save_logits: bool) -> list[Path]:
    """Mask, overlay and, if wanted, logits of a query."""
    suffixes = ("_mask.png", "_overlay.png", ".npy")[: 3 if save_logits else 2]
    return [Path(output) / f"{query.stem}{suffix}" for suffix in suffixes]


def summary_files(queries: int, output: str | Path) -> list[Path]:
    """The sheets, and the numbers last."""
    return [*sheet_files(queries, output), Path(output) / PREDICTIONS]


def margin_over_picture(logits: Float[np.ndarray, "s s 2"], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """The foreground's logit less the background's where the picture lies, without the padding.

    Args:
      logits: of a picture after the test transform.
      size: the picture's height and width before it.
    """
    height, width = fitted_size(np.array(size), logits.shape[0]).tolist()
    return logits[:height, :width, 1] - logits[:height, :width, 0]


def _predictions(
    answers: Sequence[Answer], examples: Sequence[Example], made_by: Mapping[str, Any], sheets: Sequence[Path]
) -> dict[str, Any]:
    """What ``predictions.json`` holds; results are named as files of its own folder."""

    def place(of: str | Path | Box) -> dict[str, Any]:
        return {"box": list(of)} if isinstance(of, Box) else {"mask": str(of)}

    return {
        **made_by,
        "supports": [{"image": str(example.image), **place(example.place)} for example in examples],
        "queries": [
            {
                "image": str(answer.query),
                "width": answer.size[1],
                "height": answer.size[0],
                "foreground": answer.share,
                "probability": answer.probability,
                **dict(zip(("mask", "overlay", "logits"), (file.name for file in answer.files), strict=False)),
            }
            for answer in answers
        ],
        "sheets": [sheet.name for sheet in sheets],
    }
