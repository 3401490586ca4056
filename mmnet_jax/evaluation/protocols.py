"""Which test episodes a published protocol asks for, and the list of them that makes a number repeatable."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ml_collections import ConfigDict

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.spec import DatasetSpec
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec, testing_episode
from mmnet_jax.errors import UserError

Classes = Literal["novel", "base"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One row of the table of protocols."""

    episodes: int
    """How many, where the dataset does not say otherwise."""
    draw: Callable[[EpisodeIndex, int, int], EpisodeSpec]
    """Index, seed and number to episode."""


PROTOCOLS: Mapping[str, Protocol] = {
    # The paper's, from PFENet: queries in the list's order, cycled, and supports distinct.
    "pfenet": Protocol(episodes=5_000, draw=testing_episode),
}


def default_episodes(spec: DatasetSpec, protocol: str) -> int:
    """How many test episodes a protocol draws from a dataset."""
    return spec.episodes.get(protocol, PROTOCOLS[protocol].episodes)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A list of test episodes and where it comes from."""

    dataset: str
    fold: int
    classes: Classes
    """Whether the episodes ask for the fold's novel classes or for its base classes."""
    shots: int
    protocol: str
    seed: int
    episodes: tuple[EpisodeSpec, ...]
    """By position in the dataset's test split."""


def draw_manifest(
    dataset: Dataset,
    *,
    fold: int,
    shots: int,
    protocol: str,
    seed: int,
    min_pixels: int,
    episodes: int | None = None,
    classes: Classes = "novel",
) -> Manifest:
    """The episodes of a protocol on the test split.

    Args:
      dataset: its ``test`` split is drawn from.
      fold: 0..3.
      shots: K, supports an episode.
      protocol: a name in ``PROTOCOLS``.
      seed: of the classes and supports drawn.
      min_pixels: of a class, for an image to be admitted to its lists.
      episodes: how many; the protocol's own number if not given.
      classes: which of the fold's to ask for.

    Raises:
      UserError: the protocol is unknown, or no class has enough images for this many shots.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol}; there is {', '.join(PROTOCOLS)}.")
    wanted = dataset.classes(fold, classes)
    index = EpisodeIndex.build(dataset.test, wanted, min_pixels, shots, class_names=dataset.class_names)
    count = default_episodes(dataset.spec, protocol) if episodes is None else episodes
    drawn = tuple(PROTOCOLS[protocol].draw(index, seed, i) for i in range(count))
    return Manifest(dataset.name, fold, classes, shots, protocol, seed, drawn)


def configured_manifest(
    dataset: Dataset,
    config: ConfigDict,
    *,
    fold: int | None = None,
    shots: int | None = None,
    protocol: str | None = None,
    seed: int | None = None,
    episodes: int | None = None,
    classes: Classes = "novel",
) -> Manifest:
    """``draw_manifest``, whatever is not given coming from ``config`` (resolved)."""
    return draw_manifest(
        dataset,
        fold=config.fold if fold is None else fold,
        shots=shots or config.shots,
        protocol=protocol or config.evaluation.protocol,
        seed=config.seed if seed is None else seed,
        min_pixels=config.data.min_pixels,
        episodes=episodes or config.evaluation.episodes,
        classes=classes,
    )


def manifest_text(manifest: Manifest, dataset: Dataset) -> str:
    """A manifest as JSON, one line an episode; images by id and classes by name."""
    ids, names = dataset.test.ids, dataset.class_names
    head = {
        field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest) if field.name != "episodes"
    }
    lines = [
        json.dumps({"query": ids[e.query], "class": names[e.class_id], "supports": [ids[s] for s in e.supports]})
        for e in manifest.episodes
    ]
    return json.dumps(head, indent=1)[:-2] + ',\n "episodes": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read_manifest(path: str | Path, dataset: Dataset) -> Manifest:
    """The very episodes that a manifest names.

    Args:
      path: a file that an evaluation wrote.
      dataset: where the images are.

    Raises:
      UserError: the file is missing or no manifest, was made with another dataset, or names an image or class that
        the dataset does not hold.
    """
    try:
        text: Any = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"manifest {path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"manifest {path} cannot be read: {error}.") from error
    try:
        head = {
            "classes": str(text["classes"]),
            "dataset": str(text["dataset"]),
            "protocol": str(text["protocol"]),
        }
        numbers = {name: int(text[name]) for name in ("fold", "shots", "seed")}
        episodes = [(str(e["query"]), str(e["class"]), tuple(map(str, e["supports"]))) for e in text["episodes"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a manifest: {type(error).__name__} {error}.") from error
    if head["dataset"] != dataset.name:
        raise UserError(f"manifest {path} is of {head['dataset']}, but the dataset is {dataset.name}.")
    if head["classes"] not in ("novel", "base"):
        raise UserError(f"manifest {path}: classes must be novel or base, but is {head['classes']}.")
    if not episodes:
        raise UserError(f"manifest {path} names no episode.")
    try:
        wanted = dataset.classes(numbers["fold"], head["classes"])  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"manifest {path}: {error}") from error
    positions = {name: i for i, name in enumerate(dataset.test.ids)}
    class_ids = {name: i for i, name in enumerate(dataset.class_names) if i}
    specs = []
    for number, (query, name, supports) in enumerate(episodes):
        for image in (query, *supports):
            if image not in positions:
                raise UserError(f"manifest {path}, episode {number}: {dataset.name} has no test image {image}.")
        if name not in class_ids:
            raise UserError(f"manifest {path}, episode {number}: {dataset.name} has no class {name}.")
        if class_ids[name] not in wanted:
            raise UserError(
                f"manifest {path}, episode {number}: {name} is none of the {head['classes']} classes of fold "
                f"{numbers['fold']}."
            )
        if len(supports) != numbers["shots"]:
            raise UserError(
                f"manifest {path}, episode {number}: {len(supports)} supports, but shots is {numbers['shots']}."
            )
        specs.append(EpisodeSpec(positions[query], class_ids[name], tuple(positions[s] for s in supports)))
    return Manifest(**head, **numbers, episodes=tuple(specs))  # type: ignore[arg-type]
