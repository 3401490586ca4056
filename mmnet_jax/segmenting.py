"""A user's own pictures: labelled examples of a class and any number of pictures in, masks and overlays out."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict
from PIL import Image

from mmnet_jax.data import prepare_image, prepare_label, read_image, read_mask
from mmnet_jax.data.fitting import fitted_size
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.pictures import overlay, resize_map
from mmnet_jax.models import MMNet

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""Which files of a folder are taken for pictures."""


class Supports(NamedTuple):
    """K labelled pictures as the network takes them."""

    images: Float[Array, "k s s 3"]
    labels: Int[Array, "k s s"]


def read_supports(
    images: Sequence[str | Path], masks: Sequence[str | Path], config: ConfigDict, ignore: int | None = None
) -> Supports:
    """Reads the pictures that show a class, and where they show it.

    Args:
      images: files.
      masks: files, one for each image, of its size. A pixel is foreground if it is not 0; of a palette picture the
        index counts, of a colour picture all channels.
      config: ``data.image_size`` is read.
      ignore: the mask value of pixels of which nothing is known, if there is one.

    Raises:
      UserError: naming the file that is missing, broken or does not fit; or the counts that differ.
    """
    if len(images) != len(masks):
        raise UserError(f"each --support needs its --mask, but there are {len(images)} and {len(masks)}.")
    read = [_read_support(image, mask, config, ignore) for image, mask in zip(images, masks, strict=True)]
    return Supports(jnp.stack([image for image, _ in read]), jnp.stack([label for _, label in read]))


def _read_support(image: str | Path, mask: str | Path, config: ConfigDict, ignore: int | None) -> tuple[Array, Array]:
    picture, values = read_image(image), read_mask(mask)
    if values.shape != picture.shape[:2]:
        raise UserError(
            f"mask {mask} is {values.shape[1]} x {values.shape[0]} pixels, "
            f"but its image {image} is {picture.shape[1]} x {picture.shape[0]}."
        )
    label = (values > 0).astype(np.uint8)
    if ignore is not None:
        label[values == ignore] = 255
    if not (label == 1).any():
        raise UserError(f"mask {mask} has no foreground: every pixel is 0" + (f" or {ignore}." if ignore else "."))
    fitted = prepare_label(label, config)
    if not (fitted == 1).any():
        size = config.data.image_size
        raise UserError(f"mask {mask} has too little foreground: none is left at the network's {size} pixels.")
    return prepare_image(picture, config), fitted


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
    protected = {file.resolve(): file for file in [*map(Path, keep), *queries]}
    taken: dict[str, Path] = {}
    for query in queries:
        other = taken.setdefault(query.stem, query)
        if other is not query:
            raise UserError(f"queries {other} and {query} would both be written as {query.stem}_mask.png; rename one.")
        for file in result_files(query, output, save_logits=True):
            if file.resolve() in protected:
                lost = protected[file.resolve()]
                raise UserError(f"{lost} would be overwritten by the result of {query}; choose another --output.")
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(lambda query: read_image(query).shape, queries):
            pass
    return queries


def segment_pictures(
    model: MMNet,
    variables: dict[str, Any],
    config: ConfigDict,
    supports: Supports,
    queries: Sequence[Path],
    output: str | Path,
    *,
    save_logits: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Segments each query with the same supports, which are encoded once, and writes what it finds.

    For each query ``NAME_mask.png`` (255 where the class is, 0 elsewhere) and ``NAME_overlay.png``, both of the query's
    own size, and with ``save_logits`` ``NAME.npy``: float32 [S, S, 2], background and foreground, the test transform's
    padding included. All files appear at the end, or none.

    Args:
      model: the network.
      variables: its variables.
      config: resolved.
      supports: from ``read_supports``.
      queries: picture files, from ``find_queries``.
      output: folder, made if need be.
      save_logits: write the logits too.
      progress: called after each batch with the queries done and in all.

    Returns:
      The files.
    """
    apply = jax.jit(model.apply, static_argnames="method")
    state = apply(variables, supports.images, supports.labels, method="encode_support")
    batch = min(len(queries), config.evaluation.batch_size)
    with _all_or_nothing(Path(output)) as folder:
        for start in range(0, len(queries), batch):
            part = queries[start : start + batch]
            pictures = [read_image(query) for query in part]
            fitted = jnp.stack([prepare_image(picture, config) for picture in pictures])
            # The last batch is filled up, so that one shape is compiled.
            fitted = jnp.pad(fitted, ((0, batch - len(part)), (0, 0), (0, 0), (0, 0)))
            logits = np.asarray(apply(variables, fitted, state, method="segment").logits)
            for query, picture, own in zip(part, pictures, logits, strict=False):
                mask = mask_at_own_size(own, picture.shape[:2])
                files = result_files(query, folder, save_logits)
                Image.fromarray(mask.astype(np.uint8) * 255).save(files[0])
                Image.fromarray(overlay(picture, mask)).save(files[1])
                if save_logits:
                    np.save(files[2], own)
            if progress:
                progress(start + len(part), len(queries))
    return [file for query in queries for file in result_files(query, output, save_logits)]


def result_files(query: Path, output: str | Path, save_logits: bool) -> list[Path]:
    """Mask, overlay and, if wanted, logits of a query."""
    suffixes = ("_mask.png", "_overlay.png", ".npy")[: 3 if save_logits else 2]
    return [Path(output) / f"{query.stem}{suffix}" for suffix in suffixes]


def mask_at_own_size(logits: Float[np.ndarray, "s s 2"], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Where the foreground wins: the logits without the padding, resized (align-corners) to the picture's own size.

    Args:
      logits: of a picture after the test transform.
      size: the picture's height and width before it.
    """
    height, width = fitted_size(jnp.array(size), logits.shape[0]).tolist()
    margin = logits[:height, :width, 1] - logits[:height, :width, 0]
    return resize_map(margin, size) > 0


@contextlib.contextmanager
def _all_or_nothing(output: Path) -> Iterator[Path]:
    """A folder to write to whose files are moved to ``output`` at the end; after any failure nothing is left of it."""
    created = [path for path in (output, *output.parents) if not path.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=output, prefix=".unfinished-") as folder:
            yield Path(folder)
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, output / file.name)
    except BaseException:
        for path in created:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise
