"""Stores of frozen features: which there are to be, made where they are missing, and episodes read from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int32, UInt8
from ml_collections import ConfigDict

from mmnet_jax.cli.progress import duration
from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import AnyArray, class_label
from mmnet_jax.episode import IGNORE
from mmnet_jax.errors import UserError
from mmnet_jax.features.computing import level_rows, masked_rows, row_shapes
from mmnet_jax.features.table import Column, Table, counted
from mmnet_jax.models import Features, FewShotNetwork
from mmnet_jax.models.backbones import create_backbone, unflatten_variables, variable_shapes
from mmnet_jax.models.backbones.backbone import Backbone
from mmnet_jax.models.network import grid_masks
from mmnet_jax.workdir.provenance import CODE

FOLDER = "features"
"""In the data folder."""
FORMAT = 1
"""Of a store's files; it counts up when they change."""
SAMPLED = 256
"""Images whose encoded bytes are part of a dataset's fingerprint."""
SAY_EVERY = 10.0
"""Seconds between two lines of progress."""


@struct.dataclass
class StoredEpisodes:
    """B episodes of K shots as a store gives them, with labels made by the test transform: 1, 0, and 255 unknown."""

    query_mid: Float[AnyArray, "b h w m"]
    query_high: Float[AnyArray, "b h w c"]
    query_label: Int32[AnyArray, "b s s"]
    support_mid: Float[AnyArray, "b k h w m"]
    support_high: Float[AnyArray, "b k h w c"]
    support_labels: Int32[AnyArray, "b k s s"]

    def features(self) -> Features:
        """What ``extract`` makes of the same episodes' images."""
        mask = grid_masks(jnp.asarray(self.support_labels) == 1, self.support_mid.shape[2:4])
        levels = self.query_mid, self.query_high, self.support_mid, self.support_high
        query_mid, query_high, support_mid, support_high = map(jnp.asarray, levels)
        return Features(query_mid, query_high, support_mid, support_high, mask)


@dataclasses.dataclass(frozen=True)
class FeatureStore:
    """The frozen features of a split's images, mapped from the disk; an image is named by its position."""

    mid: Float[np.ndarray, "n h w m"]
    """Levels 3 and 2, side by side."""
    high: Float[np.ndarray, "n h w c"]
    """Level 4."""
    labels: UInt8[np.ndarray, "n s s"]
    """Class indices, 255 unknown."""
    masked_high: Float[np.ndarray, "r h w c"] | None = None
    """Level 4 of masked level-3 features, for each image and class; only where the network wants these of supports."""
    masked_row: Mapping[tuple[int, int], int] = dataclasses.field(default_factory=dict)
    """Where the row of an image and class is; row 0 is that of a class which the image does not hold."""

    def load(self, specs: Sequence[EpisodeSpec]) -> StoredEpisodes:
        """The features of the episodes' images, copied from the disk.

        Args:
          specs: at least one episode, all with as many supports.
        """
        queries = np.array([spec.query for spec in specs])
        supports = np.array([spec.supports for spec in specs])
        classes = np.array([spec.class_id for spec in specs])
        if self.masked_high is None:
            support_high = self.high[supports]
        else:
            rows = [[self.masked_row.get((i, spec.class_id), 0) for i in spec.supports] for spec in specs]
            support_high = self.masked_high[np.array(rows)]
        return StoredEpisodes(
            query_mid=self.mid[queries],
            query_high=self.high[queries],
            query_label=class_label(self.labels[queries], classes[:, None, None]).astype(np.int32),
            support_mid=self.mid[supports],
            support_high=support_high,
            support_labels=class_label(self.labels[supports], classes[:, None, None, None]).astype(np.int32),
        )


def open_stores(
    config: ConfigDict,
    model: FewShotNetwork,
    frozen: Mapping[str, Any],
    weights_sha256: str,
    splits: Sequence[Split],
    say: Callable[[str], None],
) -> list[FeatureStore]:
    """The stores of some splits, under ``features/`` in the data folder; computed first where they are missing.

    Args:
      config: resolved, with ``data.augment=False`` or of an evaluation.
      model: the network.
      frozen: collections ``backbone`` and ``batch_stats`` of the network.
      weights_sha256: of the file that they came from.
      splits: of ``config``'s dataset.
      say: gets a line of progress now and then while features are computed.

    Raises:
      UserError: there is no room for them, or this is one of several processes.
      OSError: naming the folder that cannot be written.
    """
    if jax.process_count() > 1:
        raise UserError("training.cache_features works in one process; set it to False to train with several.")
    # empty where nothing is normalised
    variables = {of: frozen[of]["backbone"] for of in ("backbone", "batch_stats") if frozen[of]}
    plans = [_Plan(config, cast(Backbone, model.backbone), variables, weights_sha256, split) for split in splits]
    missing = [table for plan in plans for table in plan.tables if table.read() is None]
    _refuse_without_room(config, missing)
    return [plan.open(say) for plan in plans]


class _Plan:
    """The tables of a split's store."""

    def __init__(
        self, config: ConfigDict, backbone: Backbone, variables: dict[str, Any], weights_sha256: str, split: Split
    ) -> None:
        self._backbone, self._variables, self._split, self._size = backbone, variables, split, config.data.image_size
        mid, high, labels = row_shapes(backbone, variables, self._size)
        about = {
            "format": FORMAT,
            "backbone": config.model.backbone,
            "weights_sha256": weights_sha256,
            "image_size": self._size,
            "dataset": config.data.dataset,
            "variant": dataset_choice(config).variant,
            "split": split.name,
            "fingerprint": fingerprint(split),
            "dtype": "float32",
            "platform": jax.default_backend(),  # float32 products are another thing on a GPU
            "precision": str(jax.config.values["jax_default_matmul_precision"]),
            "jax": jax.__version__,
            **CODE.key(),
        }
        folder = Path(config.data.data_dir).expanduser() / FOLDER
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        name = "_".join([about["backbone"], f"{self._size}px", about["dataset"], about["variant"], split.name, digest])
        columns = {"mid": Column(mid, "<f4"), "high": Column(high, "<f4"), "labels": Column(labels, "|u1")}
        self._levels = Table(folder / name, about, len(split), columns)
        self._pairs = [(0, IGNORE + 1), *_pairs(split)]  # the first for a class that an image does not hold
        masked = {"high": Column(high, "<f4")}
        self._masked = Table(folder / f"{name}_masked", about | {"masked": True}, len(self._pairs), masked)
        self.tables = [self._levels, *([self._masked] if config.model.support_level4 == "masked_twice" else [])]

    def open(self, say: Callable[[str], None]) -> FeatureStore:
        images = _Teller(say, f"images of {self._split.name}", len(self._split))
        levels = self._levels.ensure(
            lambda: counted(level_rows(self._backbone, self._variables, self._split, self._size), images), say
        )
        store = FeatureStore(levels["mid"], levels["high"], levels["labels"])
        if self._masked not in self.tables:
            return store
        masks = _Teller(say, f"masks of {self._split.name}", len(self._pairs))
        rows = lambda: masked_rows(  # noqa: E731
            self._backbone, self._variables, levels["mid"], levels["labels"], self._pairs
        )
        high = self._masked.ensure(lambda: counted(rows(), masks), say)["high"]
        rows_of = {pair: row for row, pair in enumerate(self._pairs)}
        return dataclasses.replace(store, masked_high=high, masked_row=rows_of)


class _Teller:
    """Says now and then how many rows there are."""

    def __init__(self, say: Callable[[str], None], what: str, total: int) -> None:
        self._say, self._what, self._total = say, what, total
        self._start = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if done < self._total and now - self._said < SAY_EVERY:
            return
        left = (now - self._start) / done * (self._total - done)
        self._say(f"features: {done}/{self._total} {self._what}, {duration(left)} left")
        self._said = now


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """``fingerprint`` of both splits, by their names."""
    return {split.name: fingerprint(split) for split in (dataset.train, dataset.test)}


def rows_to_compute(config: ConfigDict, weights_sha256: str, splits: Sequence[Split]) -> int:
    """How many images ``open_stores`` would have to compute, an image with one class masked counted as one more."""
    backbone, shapes = create_backbone(config.model.backbone), variable_shapes(config.model.backbone)
    variables = unflatten_variables({path: jax.ShapeDtypeStruct(s, jnp.float32) for path, s in shapes.items()})
    variables = {of: tree for of, tree in variables.items() if tree}
    plans = [_Plan(config, backbone, variables, weights_sha256, split) for split in splits]
    return sum(table.rows for plan in plans for table in plan.tables if table.read() is None)


def fingerprint(split: Split) -> str:
    """SHA-256 of what a split holds: ids, pixels of each class, and the encoded bytes of up to ``SAMPLED`` images."""
    digest = hashlib.sha256(json.dumps([list(split.ids), split.max_side]).encode())
    digest.update(np.ascontiguousarray(split.counts, "<i8").data)
    for i in np.unique(np.linspace(0, len(split) - 1, min(SAMPLED, len(split))).round().astype(int)):
        record = split.records[i]
        digest.update(record["image"])
        digest.update(record["mask"])
    return digest.hexdigest()


def _pairs(split: Split) -> list[tuple[int, int]]:
    """Every image with every class that it holds."""
    images, classes = np.nonzero(np.asarray(split.counts)[:, 1:])
    return list(zip(images.tolist(), (classes + 1).tolist(), strict=True))


def _refuse_without_room(config: ConfigDict, missing: Sequence[Table]) -> None:
    needed = sum(table.bytes for table in missing)
    folder = Path(config.data.data_dir).expanduser().absolute()
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free
    if needed > free:
        raise UserError(
            f"data.data_dir {config.data.data_dir} has room for {_size(free)}, but the frozen features take "
            f"{_size(needed)}: make room, or set training.cache_features to False."
        )


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
