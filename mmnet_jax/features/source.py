"""Sources of encoded episodes for training and evaluation: images, or stored features.

``load`` of a source reads a batch on the host, ``place`` puts it on the devices, and the ``encoder`` computes there
what the trained part takes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from mmnet_jax.data.batches import on_devices
from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import RawEpisodes, load_episodes, padded
from mmnet_jax.data.transforms.evaluation import PAD, Fit, test_transform
from mmnet_jax.data.transforms.training import Augmentation, augment
from mmnet_jax.episode import Episode
from mmnet_jax.models.network import Features, FewShotNetwork

Encoded = tuple[Features, Any]  # and the running statistics that moved, empty where none do


@runtime_checkable
class Encoder(Protocol):
    """The device's half of a source; hashable, so that compiled functions can be keyed by it."""

    def __hash__(self) -> int: ...

    def transform(self, batch: Any, key: PRNGKeyArray | None = None) -> Any:
        """The episodes of a batch, with ``query_label`` and ``support_labels`` at image size; random with a key."""

    def extract(self, model: FewShotNetwork, variables: Any, episodes: Any, train: bool = False) -> Encoded:
        """Their frozen features, without gradient."""

    def levels(self, model: FewShotNetwork, variables: Any, rows: Any) -> tuple[Array, Array]:
        """Levels 3 and 2 side by side, and level 4, of images by their rows, see ``Source.row``."""

    def fit_labels(self, labels: UInt8[Array, "b n m m"], sizes: Int[Array, "b n 2"]) -> Int[Array, "b n s s"]:
        """Labels of images as the network sees them."""


class Source(NamedTuple):
    """Encoded episodes of one split."""

    load: Callable[[Sequence[EpisodeSpec]], Any]  # reads at least one episode, all with as many supports, on the host
    encoder: Encoder
    row: Callable[[int], Any]  # reads the arrays of the image at a position, without its label
    assemble: Callable[[Any, Array, Array], Any]  # a batch from rows, labels and sizes ``[b, 1+k, ...]``; for jit
    place: Callable[[Any, Sharding], Any] = on_devices  # a process's part of a batch, as the whole one on the devices


@dataclasses.dataclass(frozen=True)
class ImageEncoder:
    """Images, transformed and run through the backbone."""

    image_size: int  # side S, pixels
    augmentation: Augmentation | None = None  # for the training transform, which takes a key; ``fit`` if None
    fit: Fit = PAD  # an evaluation protocol's image size rule

    def transform(self, batch: RawEpisodes, key: PRNGKeyArray | None = None) -> Episode:
        if self.augmentation is None or key is None:
            return test_transform(batch, self.image_size, self.fit)
        with jax.named_scope("augment"):
            return augment(key, batch, self.augmentation)

    def extract(self, model: FewShotNetwork, variables: Any, episodes: Episode, train: bool = False) -> Encoded:
        mutable = ["batch_stats"] if train and model.batch_statistics else []
        features, moved = model.apply(variables, episodes, train, method="extract", mutable=mutable)
        return features, moved.get("batch_stats", {})

    def levels(self, model: FewShotNetwork, variables: Any, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        images: Any = model.apply(variables, self.fit.images(*rows, self.image_size), method="levels")
        return images

    def fit_labels(self, labels: UInt8[Array, "b n m m"], sizes: Int[Array, "b n 2"]) -> Int[Array, "b n s s"]:
        return self.fit.labels(labels, sizes, self.image_size)


def image_source(split: Split, image_size: int, **rules: Any) -> Source:
    """The source that reads a split's images; ``rules`` are ``ImageEncoder``'s other fields."""

    def row(i: int) -> tuple[np.ndarray, np.ndarray]:
        image = split.read_image(i)
        return padded(image, split.max_side, 0), np.array(image.shape[:2], np.int32)

    return Source(functools.partial(load_episodes, split), ImageEncoder(image_size, **rules), row, _assemble)


def _assemble(rows: tuple[Array, Array], labels: Array, sizes: Array) -> RawEpisodes:
    return RawEpisodes(rows[0], labels, sizes)
