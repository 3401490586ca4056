"""Manifests: the lists of test episodes that make a number repeatable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.spec import Part
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import PROTOCOLS, default_episodes


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A list of test episodes and the rules that it was drawn by."""

    dataset: str
    fold: int
    classes: Part
    """The part of the fold's classes that the episodes ask for."""
    shots: int
    protocol: str
    seed: int
    episodes: tuple[EpisodeSpec, ...]
    """By position in the dataset's test split."""

    @property
    def name(self) -> str:
        """Such as pfenet_pascal5i_fold1_1shot_5000episodes_seed321."""
        return (
            f"{self.protocol}_{self.dataset}_fold{self.fold}_{self.shots}shot_"
            f"{len(self.episodes)}episodes_seed{self.seed}"
        )


def draw_manifest(
    dataset: Dataset,
    *,
    fold: int,
    shots: int,
    protocol: str,
    seed: int,
    min_pixels: int,
    episodes: int | None = None,
    classes: Part = "novel",
) -> Manifest:
    """The episodes of a protocol on the test split.

    Args:
      dataset: its ``test`` split is drawn from.
      fold: of the dataset.
      shots: K, supports an episode.
      protocol: a name in ``PROTOCOLS``.
      seed: of the classes and supports drawn.
      min_pixels: of a class, for an image to be admitted to its lists.
      episodes: how many; the protocol's own number if None.
      classes: the part of the fold's classes to ask for.

    Raises:
      UserError: the protocol or the fold is unknown, or no class has enough images for this many shots.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol}; there is {', '.join(PROTOCOLS)}.")
    try:
        wanted = dataset.classes(fold, classes)
    except ValueError as error:
        raise UserError(str(error)) from error
    index = EpisodeIndex.build(dataset.test, wanted, min_pixels, shots, class_names=dataset.class_names)
    count = default_episodes(dataset.spec, protocol) if episodes is None else episodes
    drawn = tuple(PROTOCOLS[protocol].draw(index, seed, i) for i in range(count))
    return Manifest(dataset.name, fold, classes, shots, protocol, seed, drawn)


def configured_manifest(dataset: Dataset, config: ConfigDict, **given: Any) -> Manifest:
    """``draw_manifest``; arguments that are absent or None come from ``config`` (resolved), or the protocol's seed."""
    given = {name: value for name, value in given.items() if value is not None}
    protocol = given.get("protocol", config.evaluation.protocol)
    own_seed = PROTOCOLS[protocol].seed if protocol in PROTOCOLS else None
    configured = {
        "fold": config.fold,
        "shots": config.shots,
        "protocol": protocol,
        "seed": config.seed if own_seed is None else own_seed,
        "min_pixels": config.data.min_pixels,
        "episodes": config.evaluation.episodes,
    }
    return draw_manifest(dataset, **{**configured, **given})


def manifest_text(manifest: Manifest, dataset: Dataset) -> str:
    """A manifest as JSON, one line an episode; images by id and classes by name."""
    ids, names = dataset.test.ids, dataset.class_names
    head = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)[:-1]}
    lines = [
        json.dumps({"query": ids[e.query], "class": names[e.class_id], "supports": [ids[s] for s in e.supports]})
        for e in manifest.episodes
    ]
    return json.dumps(head, indent=1)[:-2] + ',\n "episodes": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read_manifest(path: str | Path, dataset: Dataset) -> Manifest:
    """The episodes that a manifest names.

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
        head: dict[str, Any] = {name: str(text[name]) for name in ("classes", "dataset", "protocol")}
        head |= {name: int(text[name]) for name in ("fold", "shots", "seed")}
        episodes = [(str(e["query"]), str(e["class"]), tuple(map(str, e["supports"]))) for e in text["episodes"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a manifest: {type(error).__name__} {error}.") from error
    if head["dataset"] != dataset.name:
        raise UserError(f"manifest {path} is of {head['dataset']}, but the dataset is {dataset.name}.")
    if head["classes"] not in ("novel", "base"):
        raise UserError(f"manifest {path}: classes must be novel or base, but is {head['classes']}.")
    if head["protocol"] not in PROTOCOLS:
        raise UserError(f"manifest {path}: unknown protocol {head['protocol']}; there is {', '.join(PROTOCOLS)}.")
    if not episodes:
        raise UserError(f"manifest {path} names no episode.")
    try:
        wanted = dataset.classes(head["fold"], head["classes"])
    except ValueError as error:
        raise UserError(f"manifest {path}: {error}") from error
    positions = {name: i for i, name in enumerate(dataset.test.ids)}
    class_ids = {name: i for i, name in enumerate(dataset.class_names) if i}

    def spec(query: str, name: str, supports: tuple[str, ...]) -> EpisodeSpec:
        for image in (query, *supports):
            if image not in positions:
                raise UserError(f"{dataset.name} has no test image {image}.")
        if name not in class_ids:
            raise UserError(f"{dataset.name} has no class {name}.")
        if class_ids[name] not in wanted:
            raise UserError(f"{name} is none of the {head['classes']} classes of fold {head['fold']}.")
        if len(supports) != head["shots"]:
            raise UserError(f"{len(supports)} supports, but shots is {head['shots']}.")
        return EpisodeSpec(positions[query], class_ids[name], tuple(positions[s] for s in supports))

    specs = []
    for number, episode in enumerate(episodes):
        try:
            specs.append(spec(*episode))
        except UserError as error:
            raise UserError(f"manifest {path}, episode {number}: {error}") from None
    return Manifest(**head, episodes=tuple(specs))
