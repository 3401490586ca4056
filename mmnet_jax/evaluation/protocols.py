"""Evaluation protocols: how test episodes are drawn, how images are resized, and at which size masks are scored."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.errors import UserError, listed
from mmnet_jax.evaluation.draws import Drawn, Request, draw_hsnet, draw_pfenet


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules behind one kind of published numbers."""

    name: str
    episodes: int
    """Test episodes of each seed, unless the dataset's ``DatasetSpec.episodes`` gives another number."""
    draw: Callable[[Request], Drawn]
    seeds: tuple[int, ...] | None = None
    """Episode seeds, over which the mIoU is averaged; None: one seed, which the config gives."""
    fit: Literal["pad", "squash"] = "pad"
    """Images are scaled into the network's square and padded, or squashed to it."""
    scoring_side: int | None = None
    """Side in pixels of the square to which labels are squashed for scoring, whatever the network's image size; None:
    labels keep their size. Logits are resized (align-corners) to a square of the scored label's longer side, with the
    label at its top left."""
    own_lists: bool = False
    """True: episodes come from the lists in ``DatasetSpec.hsnet``; datasets without them do not support it."""

    def seeds_or(self, seed: int) -> tuple[int, ...]:
        """The protocol's episode seeds, or ``seed`` if it fixes none."""
        return self.seeds or (seed,)

    @property
    def scoring(self) -> str:
        """The size at which masks are scored: ``label size``, or a square such as ``400 x 400``."""
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
    """The protocol of this name, where the dataset supports it.

    Args:
      folds: a key of ``DatasetSpec.novel``; the default one if None.

    Raises:
      UserError: there is no such protocol, or it has no lists of the dataset or of these folds.
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
    """Number of test episodes that a protocol draws from a dataset for each episode seed."""
    return dataset.episodes.get(protocol, PROTOCOLS[protocol].episodes)
