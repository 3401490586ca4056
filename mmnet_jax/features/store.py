"""Features of a frozen backbone, computed once for each image by the test transform and stored on disk.

Stored features depend on no mask. A store is keyed by everything that its numbers depend on; ``features/`` in the data
folder can be deleted at any time.
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
from mmnet_jax.data.raw import AnyArray, load_labels
from mmnet_jax.data.transforms.evaluation import PAD
from mmnet_jax.errors import UserError
from mmnet_jax.features.source import Encoded, Encoder, Source, image_row
from mmnet_jax.features.table import Table
from mmnet_jax.models.network import Features, FewShotNetwork, grid_masks, mid_and_high
from mmnet_jax.workdir.provenance import CODE

FOLDER = "features"
"""Name of the stores' folder in the data folder."""
FORMAT = 2
"""Version of a store's files."""


@struct.dataclass
class StoredEpisodes:
    """B episodes of K shots with stored features; the query comes first. Labels are as stored until transformed."""

    mid: Float[AnyArray, "b 1+k h w m"]
    """Levels 3 and 2, side by side."""
    high: Float[AnyArray, "b n h w c"]
    """Level 4; of the query alone where the network takes level 4 of a support from masked level-3 features."""
    labels: Int[AnyArray, "b 1+k s s"]
    sizes: Int32[AnyArray, "b 1+k 2"]

    @property
    def query_label(self) -> Int[AnyArray, "b s s"]:
        return self.labels[:, 0]

    @property
    def support_labels(self) -> Int[AnyArray, "b k s s"]:
        return self.labels[:, 1:]


@dataclasses.dataclass(frozen=True)
class StoreEncoder(Encoder):
    """Takes features as stored; level 4 of masked features is computed from stored level 3."""

    mask_level3: bool = False
    """Whether the network takes level 4 of supports from masked level-3 features."""

    def assemble(
        self, rows: tuple[AnyArray, AnyArray], labels: UInt8[AnyArray, "b n m m"], sizes: Int[AnyArray, "b n 2"]
    ) -> StoredEpisodes:
        mid, high = rows
        return StoredEpisodes(mid, high[:, :1] if self.mask_level3 else high, labels, sizes)

    def transform(self, batch: StoredEpisodes, key: PRNGKeyArray | None = None) -> StoredEpisodes:
        return dataclasses.replace(batch, labels=self.fit_labels(batch.labels, batch.sizes))

    def extract(self, model: FewShotNetwork, variables: Any, episodes: StoredEpisodes, train: bool = False) -> Encoded:
        mid, high = jnp.asarray(episodes.mid), jnp.asarray(episodes.high)
        masks = grid_masks(jnp.asarray(episodes.support_labels) == 1, mid.shape[2:4])
        support_high: Any = high[:, 1:]
        if self.mask_level3:
            level3 = mid[:, 1:, ..., : model.backbone.channels["level3"]]
            support_high = model.apply(variables, level3, masks, method="masked_high")
        return Features(mid[:, 0], high[:, 0], mid[:, 1:], support_high, masks), {}

    def levels(self, model: FewShotNetwork, variables: Any, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        return rows


def _source(split: Split, rows: np.ndarray, encoder: StoreEncoder) -> Source:
    def load(specs: Sequence[EpisodeSpec]) -> StoredEpisodes:
        images = np.array([spec.images for spec in specs])
        high = rows["high"][images[:, :1] if encoder.mask_level3 else images]
        return encoder.assemble((rows["mid"][images], high), *load_labels(split, specs))

    return Source(load, encoder, lambda i: (rows["mid"][i], rows["high"][i]))


def stored_sources(
    config: ConfigDict, model: FewShotNetwork, frozen: Any, weights_sha256: str, splits: Sequence[Split], say: Say
) -> list[Source]:
    """Sources that read the stored features of these splits; missing features are computed first.

    Raises:
      UserError: there are several processes, or too little room on the disk.
    """
    if jax.process_count() > 1:
        raise UserError(f"training.cache_features works in one process alone, but there are {jax.process_count()}.")
    size, variables = config.data.image_size, _backbone_variables(frozen)
    tables = [_table(config, model, variables, weights_sha256, split) for split in splits]
    _check_disk_space(config.data.data_dir, [table for table in tables if table.read() is None])
    encoder, sources = StoreEncoder(size, mask_level3=model.mask_level3), []
    for split, table in zip(splits, tables, strict=True):
        rows = table.ensure(functools.partial(_rows, model, variables, split, size, table.row, say), say)
        sources.append(_source(split, rows, encoder))
    return sources


def _table(config: ConfigDict, model: FewShotNetwork, variables: Any, weights_sha256: str, split: Split) -> Table:
    """The table of a split's features, keyed by everything that its numbers depend on."""
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
        "platform": jax.default_backend(),  # float32 products differ on a GPU
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
    """Blocks of a split's rows, one image each on a CPU, whose convolutions slow down with the batch."""
    at_once = 1 if jax.default_backend() == "cpu" else 16

    def read(first: int) -> list[np.ndarray]:
        images = [image_row(split, i) for i in range(len(split))[first : first + at_once]]
        return [np.stack(arrays) for arrays in zip(*images, strict=True)]

    done = 0
    with Progress(f"features of {split.name}: image", len(split), "images", say) as progress:
        for images, sizes in read_ahead(read, range(0, len(split), at_once)):
            block = np.empty(len(images), row)
            block["mid"], block["high"] = _levels(model.backbone, size, variables, images, sizes)
            yield block
            done += len(block)
            progress.update(done)


@functools.partial(jax.jit, static_argnames=("backbone", "size"))
def _levels(
    backbone: nn.Module, size: int, variables: dict[str, Any], images: UInt8[Array, "n m m 3"], sizes: Int[Array, "n 2"]
) -> tuple[Float[Array, "n h w c23"], Float[Array, "n h w c4"]]:
    return nn.apply(mid_and_high, backbone)(variables, PAD.images(images, sizes, size))


def _backbone_variables(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's variables out of a network's, without empty collections."""
    return {name: variables[name]["backbone"] for name in ("backbone", "batch_stats") if variables[name]}


def _check_disk_space(data_dir: str, missing: Sequence[Table]) -> None:
    needed = sum(table.bytes for table in missing)
    folder = Path(data_dir).absolute()
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if needed > free:
        raise UserError(
            f"data.data_dir {data_dir} has room for {byte_size(free)}, but the features that training.cache_features "
            f"keeps there take {byte_size(needed)}."
        )
