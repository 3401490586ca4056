"""Stored features of a frozen backbone: what it computes from each image, once, by the test transform.

Nothing stored depends on an episode's masks. A store is found by all that its numbers depend on; delete ``features/``
in the data folder whenever it is in the way.
"""

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Int32, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import Progress, Say, byte_size
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.batches import read_ahead
from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import AnyArray, RawEpisodes, load_episodes, load_labels
from mmnet_jax.data.transforms.evaluation import PAD
from mmnet_jax.errors import UserError
from mmnet_jax.features.source import Encoded, Source
from mmnet_jax.features.table import Table
from mmnet_jax.models.network import Features, FewShotNetwork, grid_masks, join_shots, mid_and_high, split_shots
from mmnet_jax.workdir.provenance import CODE

FOLDER = "features"  # in the data folder
FORMAT = 2  # of a store's files; raised when they change


@struct.dataclass
class StoredEpisodes:
    """B episodes of K shots as a store gives them: features, and labels as in ``RawEpisodes`` until transformed."""

    query_mid: Float[AnyArray, "b h w m"]
    query_high: Float[AnyArray, "b h w c"]
    support_mid: Float[AnyArray, "b k h w m"]
    support_high: Float[AnyArray, "b k h w c"] | None  # None where the network takes level 4 of masked level-3 features
    labels: Int[AnyArray, "b 1+k s s"]
    sizes: Int32[AnyArray, "b 1+k 2"]

    @property
    def query_label(self) -> Int[AnyArray, "b s s"]:
        return self.labels[:, 0]

    @property
    def support_labels(self) -> Int[AnyArray, "b k s s"]:
        return self.labels[:, 1:]


@dataclasses.dataclass(frozen=True)
class StoreEncoder:
    """The device's half of a source of stored features."""

    image_size: int  # side S, pixels

    def transform(self, batch: StoredEpisodes, key: PRNGKeyArray | None = None) -> StoredEpisodes:
        return dataclasses.replace(batch, labels=PAD.labels(batch.labels, batch.sizes, self.image_size))

    def extract(self, model: FewShotNetwork, variables: Any, episodes: StoredEpisodes, train: bool = False) -> Encoded:
        """The stored features; level 4 of masked features depends on the masks and is computed here."""
        query_mid, query_high, mid = map(jnp.asarray, (episodes.query_mid, episodes.query_high, episodes.support_mid))
        masks = grid_masks(jnp.asarray(episodes.support_labels) == 1, mid.shape[2:4])
        if episodes.support_high is not None:
            high = jnp.asarray(episodes.support_high)
        else:
            level3 = join_shots(mid)[..., : model.backbone.channels["level3"]]
            masked: Any = model.apply(variables, level3, join_shots(masks), method="masked_high")
            high = split_shots(masked, len(mid))
        return Features(query_mid, query_high, mid, high, masks), {}

    def levels(self, model: FewShotNetwork, variables: Any, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        return rows

    def fit_labels(self, labels: UInt8[Array, "b n m m"], sizes: Int[Array, "b n 2"]) -> Int[Array, "b n s s"]:
        return PAD.labels(labels, sizes, self.image_size)


def _load(split: Split, rows: np.ndarray, mask_level3: bool, specs: Sequence[EpisodeSpec]) -> StoredEpisodes:
    """Reads episodes from rows of float32 ``mid`` [h, w, m], levels 3 and 2, and ``high`` [h, w, c], level 4."""
    images = np.array([spec.images for spec in specs])
    high = rows["high"][images[:, :1] if mask_level3 else images]
    return _assemble(mask_level3, (rows["mid"][images], high), *load_labels(split, specs))


def _row(rows: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    return rows["mid"][i], rows["high"][i]


def _assemble(mask_level3: bool, rows: tuple[AnyArray, AnyArray], labels: AnyArray, sizes: AnyArray) -> StoredEpisodes:
    """A batch from ``mid`` and ``high`` of its images, [b, 1+k, h, w, ...]."""
    mid, high = rows
    return StoredEpisodes(mid[:, 0], high[:, 0], mid[:, 1:], None if mask_level3 else high[:, 1:], labels, sizes)


def stored_sources(
    config: ConfigDict, model: FewShotNetwork, frozen: Any, weights_sha256: str, splits: Sequence[Split], say: Say
) -> list[Source]:
    """The sources that read the stored features of some splits, which are computed first where they are missing."""
    if jax.process_count() > 1:
        raise UserError(f"training.cache_features works in one process alone, but there are {jax.process_count()}.")
    size, variables = config.data.image_size, _own(frozen)
    tables = [_table(config, model, variables, weights_sha256, split) for split in splits]
    _refuse_without_room(config.data.data_dir, [table for table in tables if table.read() is None])
    sources = []
    for split, table in zip(splits, tables, strict=True):
        rows = table.ensure(functools.partial(_rows, model, variables, split, size, table.row, say), say)
        load = functools.partial(_load, split, rows, model.mask_level3)
        row = functools.partial(_row, rows)
        sources.append(Source(load, StoreEncoder(size), row, functools.partial(_assemble, model.mask_level3)))
    return sources


def _table(config: ConfigDict, model: FewShotNetwork, variables: Any, weights_sha256: str, split: Split) -> Table:
    """The table of a split's features, by everything that its numbers depend on."""
    size = config.data.image_size
    dataset, _, variant, _ = dataset_choice(config)
    about = {
        "format": FORMAT,
        "backbone": config.model.backbone,
        "weights_sha256": weights_sha256,
        "image_size": size,
        "dataset": dataset,
        "variant": variant,
        "split": split.name,
        "fingerprint": split.fingerprint(),
        "dtype": jnp.dtype(model.dtype).name,
        "platform": jax.default_backend(),  # float32 products are another thing on a GPU
        "precision": str(jax.config.values["jax_default_matmul_precision"]),
        "jax": jax.__version__,
        **CODE.key(),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
    name = "_".join([config.model.backbone, f"{size}px", dataset, variant, split.name, digest])
    square, own = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8), jax.ShapeDtypeStruct((1, 2), jnp.int32)
    levels = jax.eval_shape(functools.partial(_levels, model.backbone, size), variables, square, own)
    row = np.dtype([(level, "<f4", array.shape[1:]) for level, array in zip(("mid", "high"), levels, strict=True)])
    return Table(Path(config.data.data_dir) / FOLDER / name, about, len(split), row)


def _rows(
    model: FewShotNetwork, variables: Any, split: Split, size: int, row: np.dtype, say: Say
) -> Iterator[np.ndarray]:
    """Blocks of a split's rows, some images at a time: one on a CPU, whose convolutions slow down with the batch."""
    at_once = 1 if jax.default_backend() == "cpu" else 16

    def read(first: int) -> RawEpisodes:
        images = range(len(split))[first : first + at_once]
        return load_episodes(split, [EpisodeSpec(i, 0, ()) for i in images])

    done = 0
    with Progress(f"features of {split.name}: image", len(split), "images", say) as progress:
        for raw in read_ahead(read, range(0, len(split), at_once)):
            block = np.empty(len(raw.sizes), row)
            block["mid"], block["high"] = _levels(model.backbone, size, variables, raw.images[:, 0], raw.sizes[:, 0])
            yield block
            done += len(block)
            progress.update(done)


@functools.partial(jax.jit, static_argnames=("backbone", "size"))
def _levels(
    backbone: nn.Module, size: int, variables: dict[str, Any], images: UInt8[Array, "n m m 3"], sizes: Int[Array, "n 2"]
) -> tuple[Float[Array, "n h w c23"], Float[Array, "n h w c4"]]:
    return nn.apply(mid_and_high, backbone)(variables, PAD.images(images, sizes, size))


def _own(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's own variables among a network's; a collection is left out where nothing is normalised."""
    return {name: variables[name]["backbone"] for name in ("backbone", "batch_stats") if variables[name]}


def _refuse_without_room(data_dir: str, missing: Sequence[Table]) -> None:
    needed = sum(table.bytes for table in missing)
    folder = Path(data_dir).absolute()
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if needed > free:
        raise UserError(
            f"data.data_dir {data_dir} has room for {byte_size(free)}, but the features that training.cache_features "
            f"keeps there take {byte_size(needed)}."
        )
