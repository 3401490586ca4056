"""Evaluation protocols: which test episodes are asked for, how images are fitted, and where masks are scored."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.errors import UserError, listed
from mmnet_jax.evaluation.draws import Drawn, Request, draw_hsnet, draw_pfenet


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules behind published numbers of one kind."""

    name: str
    episodes: int
    """Test episodes of a seed, where the dataset's ``DatasetSpec.episodes`` does not say otherwise."""
    draw: Callable[[Request], Drawn]
    seeds: tuple[int, ...] | None = None
    """Episode seeds, whose mIoUs are averaged; None: the run's own one, see ``seeds_or``."""
    fit: Literal["pad", "squash"] = "pad"
    """Image size rule: fitted into the network's square and padded, or squashed to it."""
    scoring_side: int | None = None
    """Side of the square to which labels are squashed and in which masks are scored, pixels, whatever the network's
    image size; None: the label's own size. Logits are resized (align-corners) to a square of the scored label's longer
    side, the label top-left in it."""
    own_lists: bool = False
    """Whether it draws from the lists that ``DatasetSpec.hsnet`` declares, and is unknown where there are none."""

    def seeds_or(self, seed: int) -> tuple[int, ...]:
        """The protocol's episode seeds, or ``seed`` where it fixes none."""
        return self.seeds or (seed,)

    @property
    def scoring(self) -> str:
        """The scoring space in words: ``label size``, or a square such as ``400 x 400``."""
        return f"{self.scoring_side} x {self.scoring_side}" if self.scoring_side else "label size"


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("pfenet", episodes=5_000, draw=draw_pfenet),  # the paper's
        Protocol("hsnet", 1_000, draw_hsnet, seeds=(0,), fit="squash", scoring_side=400, own_lists=True),
        Protocol("bam", 1_000, draw_pfenet, seeds=(510, 365, 382, 322, 988)),
    )
}


def find_protocol(name: str, dataset: DatasetSpec, folds: str | None = None) -> Protocol:
    """The protocol of this name; a ``UserError`` if there is none, or it is not known for the dataset and its folds.

    ``folds`` is a key of ``DatasetSpec.novel``, the default one if None.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name}; there is {', '.join(PROTOCOLS)}.")
    protocol = PROTOCOLS[name]
    if not protocol.own_lists:
        return protocol
    if dataset.hsnet is None:
        known = listed([spec.name for spec in DATASETS.values() if spec.hsnet], "and")
        raise UserError(f"protocol {name} has lists of {known} alone, and the dataset is {dataset.name}; take pfenet.")
    if dataset.hsnet.folds and folds not in (None, dataset.hsnet.folds):
        lists = f"protocol {name} has lists of the {dataset.hsnet.folds} folds of {dataset.name} alone"
        raise UserError(f"{lists}, and data.folds is {folds}; take pfenet.")
    return protocol


def default_episodes(dataset: DatasetSpec, protocol: str) -> int:
    """Number of test episodes that a protocol draws from a dataset for each seed."""
    return dataset.episodes.get(protocol, PROTOCOLS[protocol].episodes)
