"""Sources of encoded episodes for training and evaluation: images, or stored features.

A source loads a batch on the host and puts it on the devices, where its encoder computes the input of the head.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Int, PRNGKeyArray, UInt8

from mmnet_jax.data.batches import on_devices
from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import AnyArray, RawEpisodes, load_episodes, padded
from mmnet_jax.data.transforms.evaluation import PAD, Fit, test_transform
from mmnet_jax.data.transforms.training import Augmentation, augment
from mmnet_jax.episode import Episode
from mmnet_jax.models.network import Features, FewShotNetwork

Encoded = tuple[Features, Any]
"""Features, and the running statistics that moved, empty where none do."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """The device's part of a source; hashable, so that compiled functions are keyed by it."""

    image_size: int
    """Side S, pixels."""
    fit: Fit = PAD
    """Image size rule of the evaluation protocol."""

    def assemble(self, rows: Any, labels: UInt8[AnyArray, "b n m m"], sizes: Int[AnyArray, "b n 2"]) -> Any:
        """A batch from the rows of its images ``[b, 1+k, ...]``, see ``Source.row``, and their labels as stored."""
        raise NotImplementedError

    def transform(self, batch: Any, key: PRNGKeyArray | None = None) -> Any:
        """The episodes of a batch, with ``query_label`` and ``support_labels`` at image size; random with a key."""
        raise NotImplementedError

    def extract(self, model: FewShotNetwork, variables: Any, episodes: Any, train: bool = False) -> Encoded:
        """The frozen features of episodes, without gradient."""
        raise NotImplementedError

    def levels(self, model: FewShotNetwork, variables: Any, rows: Any) -> tuple[Array, Array]:
        """Levels 3 and 2 side by side, and level 4, of images by their rows."""
        raise NotImplementedError

    def fit_labels(self, labels: UInt8[AnyArray, "b n m m"], sizes: Int[AnyArray, "b n 2"]) -> Int[Array, "b n s s"]:
        """Labels resized to image size like the images."""
        return self.fit.labels(labels, sizes, self.image_size)


class Source(NamedTuple):
    """Encoded episodes of one split."""

    load: Callable[[Sequence[EpisodeSpec]], Any]
    """Reads a batch on the host: at least one episode, all with the same number of supports."""
    encoder: Encoder
    row: Callable[[int], Any]
    """Reads the arrays of the image at a position, without its label."""
    place: Callable[[Any, Sharding], Any] = on_devices
    """Puts a process's part of a batch on the devices, as the whole batch."""


@dataclasses.dataclass(frozen=True)
class ImageEncoder(Encoder):
    """Transforms images and runs the backbone on them."""

    augmentation: Augmentation | None = None
    """The training transform, for calls with a key; None: ``fit``."""

    def assemble(
        self, rows: tuple[Array, Array], labels: UInt8[AnyArray, "b n m m"], sizes: Int[AnyArray, "b n 2"]
    ) -> RawEpisodes:
        return RawEpisodes(rows[0], labels, sizes)

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


def image_row(split: Split, i: int) -> tuple[UInt8[np.ndarray, "m m 3"], Int[np.ndarray, "2"]]:
    """Image ``i`` in the top left corner of a square of side ``split.max_side``, and its height and width."""
    image = split.read_image(i)
    return padded(image, split.max_side, 0), np.array(image.shape[:2], np.int32)


def image_source(split: Split, image_size: int, **rules: Any) -> Source:
    """The source that reads a split's images; ``rules`` are ``ImageEncoder``'s other fields."""
    encoder = ImageEncoder(image_size, **rules)
    return Source(functools.partial(load_episodes, split), encoder, functools.partial(image_row, split))
