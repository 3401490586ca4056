"""Evaluation protocols: which test episodes are asked for, how images are fitted, and where masks are scored."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, testing_episode
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.evaluation import test_transform
from mmnet_jax.data.transforms.squash import squash_episodes, squash_label
from mmnet_jax.episode import Episode
from mmnet_jax.errors import UserError, listed

Labels = UInt8[Array, "b m m"]
"""Labels top-left in squares, 255 beyond their own sizes."""
Sizes = Int[Array, "b 2"]
"""Their heights and widths."""
HSNET_SIDE = 400
"""Side of the square in which HSNet scores, pixels."""


def own_size(labels: Labels, sizes: Sizes) -> tuple[Labels, Sizes]:
    """Scores at the label's original size."""
    return labels, sizes


def squashed(labels: Labels, sizes: Sizes) -> tuple[UInt8[Array, "b s s"], Sizes]:
    """Scores labels squashed to HSNet's square, whatever the network's image size."""
    square = jax.vmap(lambda label, size: squash_label(label, size, HSNET_SIDE))
    return square(labels, sizes), jnp.full_like(sizes, HSNET_SIDE)


def draw_pfenet(index: EpisodeIndex, seed: int, count: int) -> list[EpisodeSpec]:
    """Queries in the list's order, cycled, and supports distinct; see ``testing_episode``."""
    return [testing_episode(index, seed, i) for i in range(count)]


def draw_hsnet(index: EpisodeIndex, seed: int, count: int) -> list[EpisodeSpec]:
    """HSNet's episodes of a dataset whose images have one class each, as FSS-1000's: its own for seed 0.

    Queries in the list's order, cycled. One sequence of draws gives the supports of all episodes: each is a number of
    the class's images, drawn again while it is the query's; supports may repeat. The list sorts an image by its number
    as a string: 1, 10, 2, ... HSNet draws by NumPy's legacy generator, which never changes.
    """
    random, episodes = np.random.RandomState(seed), []
    for i in range(count):
        at = i % len(index.admitted)
        query, (class_id,) = int(index.admitted[at]), index.present[at]
        images = index.support_lists[class_id]
        numbered = dict(zip(sorted(range(1, len(images) + 1), key=str), images.tolist(), strict=True))
        supports: list[int] = []
        while len(supports) < index.shots:
            (drawn,) = random.choice(range(1, len(images) + 1), 1, replace=False)
            if numbered[int(drawn)] != query:
                supports.append(numbered[int(drawn)])
        episodes.append(EpisodeSpec(query, class_id, tuple(supports)))
    return episodes


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules behind published numbers of one kind."""

    episodes: int
    """Test episodes, where the dataset's ``DatasetSpec.episodes`` does not say otherwise."""
    draw: Callable[[EpisodeIndex, int, int], Sequence[EpisodeSpec]]
    """Sampling: the index of the test split, a seed and the number of episodes -> the episodes."""
    seed: int | None = None
    """Episode seed; the run's own if None."""
    min_pixels: int | None = None
    """Pixels of a class that admit an image to its lists; the run's own if None."""
    distinct_supports: bool = True
    """Whether the supports of an episode differ."""
    datasets: tuple[str, ...] = ()
    """Names of the datasets that it is known for; empty: all."""
    fit: Callable[[RawEpisodes, int], Episode] = test_transform
    """Image size rule: raw episodes and S -> episodes; runs on the device."""
    scored: Callable[[Labels, Sizes], tuple[Labels, Sizes]] = own_size
    """Scoring space: labels and their sizes -> those that are scored; runs on the device. Logits are resized
    (align-corners) to a square of the scored label's longer side, the label top-left in it."""


PROTOCOLS: dict[str, Protocol] = {
    # the paper's, from PFENet
    "pfenet": Protocol(episodes=5_000, draw=draw_pfenet),
    "hsnet": Protocol(
        episodes=1_000,
        draw=draw_hsnet,
        seed=0,
        min_pixels=1,
        distinct_supports=False,
        datasets=("fss1000",),
        fit=squash_episodes,
        scored=squashed,
    ),
}


def find_protocol(name: str, dataset: str) -> Protocol:
    """The protocol of this name; a ``UserError`` if there is none, or it is not known for the dataset."""
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name}; there is {', '.join(PROTOCOLS)}.")
    protocol = PROTOCOLS[name]
    if protocol.datasets and dataset not in protocol.datasets:
        known = listed(protocol.datasets, "and")
        raise UserError(f"protocol {name} is for {known} alone so far, and the dataset is {dataset}; take pfenet.")
    return protocol


def default_episodes(dataset: DatasetSpec, protocol: str) -> int:
    """How many test episodes a protocol draws from a dataset."""
    return dataset.episodes.get(protocol, PROTOCOLS[protocol].episodes)
