"""Evaluation protocols: which test episodes are asked for, how images are fitted, and where masks are scored."""

import dataclasses
from collections.abc import Callable

from jaxtyping import Array, Int, UInt8

from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, testing_episode
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.evaluation import test_transform
from mmnet_jax.episode import Episode

Labels = UInt8[Array, "b m m"]
"""Labels top-left in squares, 255 beyond their own sizes."""
Sizes = Int[Array, "b 2"]
"""Their heights and widths."""


def own_size(labels: Labels, sizes: Sizes) -> tuple[Labels, Sizes]:
    """Scores at the label's original size."""
    return labels, sizes


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules behind published numbers of one kind."""

    episodes: int
    """Test episodes, where the dataset's ``DatasetSpec.episodes`` does not say otherwise."""
    draw: Callable[[EpisodeIndex, int, int], EpisodeSpec]
    """Sampling: the index of the test split, a seed and a number -> the episode of that number."""
    seed: int | None = None
    """Episode seed; the run's own if None."""
    fit: Callable[[RawEpisodes, int], Episode] = test_transform
    """Image size rule: raw episodes and S -> episodes; runs on the device."""
    scored: Callable[[Labels, Sizes], tuple[Labels, Sizes]] = own_size
    """Scoring space: labels and their sizes -> those that are scored; runs on the device. Logits are resized
    (align-corners) to a square of the scored label's longer side, the label top-left in it."""


PROTOCOLS: dict[str, Protocol] = {
    # The paper's, from PFENet: queries in the list's order, cycled, and supports distinct.
    "pfenet": Protocol(episodes=5_000, draw=testing_episode),
}


def default_episodes(dataset: DatasetSpec, protocol: str) -> int:
    """How many test episodes a protocol draws from a dataset."""
    return dataset.episodes.get(protocol, PROTOCOLS[protocol].episodes)
