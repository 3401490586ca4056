"""Evaluation on a dataset other than the training's."""

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config.values import dataset_choice
from mmnet_jax.data.dataset import Dataset, find_spec, is_prepared, open_dataset
from mmnet_jax.data.datasets.unseen import seen_classes, unseen_name, with_unseen
from mmnet_jax.errors import UserError, first_of

SHOWN = 20
"""Number of classes that a message names."""
NOT_COMPARABLE = (
    "published numbers of COCO-20i to PASCAL-5i (RePRI) are scored at 417 px with padding, and these at the label's "
    "own size: they are not comparable"
)


class Transfer(NamedTuple):
    """Another dataset, opened to evaluate a trained network on it."""

    config: ConfigDict
    """The training's, with the fields of the other dataset."""
    dataset: Dataset
    """Its folds are those of the training, see ``with_unseen``."""
    trained: str
    """Name of the training's dataset."""
    seen: tuple[str, ...]
    """Classes of ``dataset`` on which the network was trained."""

    def check(self, classes: Iterable[str]) -> None:
        """Raises ``UserError`` if the network was trained on one of these classes."""
        if both := [name for name in classes if name in self.seen]:
            names = first_of(both, SHOWN)
            raise UserError(f"the network was trained on {names}, as classes of {self.trained}; test on other classes.")

    def notes(self) -> list[str]:
        """Notes for the result: classes left out, and published numbers that are not comparable."""
        notes = []
        if self.seen:
            left_out = f"left out of {self.dataset.name}, since the network was trained on them"
            notes.append(f"{left_out}: {first_of(self.seen, SHOWN)}")
        if (self.trained, self.dataset.name) == ("coco20i", "pascal5i"):
            notes.append(NOT_COMPARABLE)
        return notes


def open_transfer(config: ConfigDict, name: str, variant: str | None = None) -> Transfer:
    """Opens a dataset in ``data.data_dir`` for a network that was trained, by ``config``, on another one.

    ``variant`` is a value of the dataset's ``variant_field``; the first prepared one if None. Raises ``UserError`` if
    it is not prepared, or if the training's classes come from a dataset that is not prepared there.
    """
    spec, own, data_dir = find_spec(name), dataset_choice(config), config.data.data_dir
    prepared = (known for known in spec.variants if is_prepared(name, data_dir, known))
    variant = next(prepared, spec.default_variant) if variant is None else spec.variant(variant)
    trained = find_spec(own.name)
    if not trained.folds or is_prepared(*own[:3]):  # the prepared dataset may name classes of its own
        trained = open_dataset(*own).spec
    folds, fold = own.folds or trained.default_folds, config.fold
    dataset = open_dataset(name, data_dir, variant)
    seen = tuple(dataset.class_names[c] for c in seen_classes(dataset.spec, trained, folds, fold))
    by_training = with_unseen(dataset.spec, trained, folds)
    dataset = dataclasses.replace(dataset, spec=by_training, folds=unseen_name(trained, folds))
    config = config.copy_and_resolve_references()
    config.evaluation.update(protocol=spec.protocol, episodes=None)
    config.data.update(dataset=name, folds=spec.default_folds, min_pixels=spec.min_pixels)
    config.data[spec.variant_field.removeprefix("data.")] = (
        int(variant.removeprefix("seed")) if spec.generated else variant
    )
    return Transfer(config, dataset, own.name, seen)
