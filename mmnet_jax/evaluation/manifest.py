"""Manifests: the lists of test episodes that make a number repeatable."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

from ml_collections import ConfigDict

from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.spec import Part
from mmnet_jax.data.episodes import EpisodeIndex, EpisodeSpec
from mmnet_jax.errors import UserError, listed
from mmnet_jax.evaluation.protocols import PROTOCOLS, default_episodes, find_protocol


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
        episodes = f"{len(self.episodes)}episodes_seed{self.seed}"
        return f"{self.protocol}_{self.dataset}_fold{self.fold}_{self.shots}shot_{episodes}"


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
    """The episodes of a protocol on the test split, the protocol's own number of them if ``episodes`` is None.

    ``min_pixels`` of a class admit an image to its lists, unless the protocol has its own number. Raises ``UserError``
    where the protocol or the fold is unknown, or no class has enough images for this many shots.
    """
    rules = find_protocol(protocol, dataset.name)
    index = EpisodeIndex.build(
        dataset.test,
        _classes(dataset, fold, classes),
        rules.min_pixels or min_pixels,
        shots,
        class_names=dataset.class_names,
        distinct_supports=rules.distinct_supports,
    )
    count = default_episodes(dataset.spec, protocol) if episodes is None else episodes
    drawn = tuple(rules.draw(index, seed, count))
    return Manifest(dataset.name, fold, classes, shots, protocol, seed, drawn)


def _classes(dataset: Dataset, fold: int, part: Part) -> tuple[int, ...]:
    if not (classes := dataset.classes(fold, part)):
        raise UserError(f"{dataset.name} has no {part} classes in fold {fold}.")
    return classes


def configured_manifest(dataset: Dataset, config: ConfigDict, **given: Any) -> Manifest:
    """``draw_manifest``; arguments that are absent or None come from ``config`` (resolved), or the protocol's seed."""
    given = {name: value for name, value in given.items() if value is not None}
    configured = {name: config[name] for name in ("fold", "shots", "seed")}
    configured |= {"min_pixels": config.data.min_pixels, "episodes": config.evaluation.episodes}
    configured["protocol"] = given.get("protocol", config.evaluation.protocol)
    protocol = PROTOCOLS.get(configured["protocol"])
    if protocol is not None and protocol.seed is not None:
        configured["seed"] = protocol.seed
    return draw_manifest(dataset, **{**configured, **given})


def manifest_text(manifest: Manifest, dataset: Dataset) -> str:
    """A manifest as JSON, one line an episode; images by id and classes by name."""
    ids, names = dataset.test.ids, dataset.class_names
    head = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)[:-1]} | dataset.choices
    lines = [
        json.dumps({"query": ids[e.query], "class": names[e.class_id], "supports": [ids[s] for s in e.supports]})
        for e in manifest.episodes
    ]
    return json.dumps(head, indent=1)[:-2] + ',\n "episodes": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read_manifest(path: str | Path, dataset: Dataset) -> Manifest:
    """The episodes that a manifest names.

    Raises ``UserError`` where the file is missing or no manifest, was made with another dataset, or names an image or
    class that the dataset does not hold.
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
        folds = text.get("folds")
        episodes = [(str(e["query"]), str(e["class"]), tuple(map(str, e["supports"]))) for e in text["episodes"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a manifest: {type(error).__name__} {error}.") from error
    if head["dataset"] != dataset.name:
        raise UserError(f"manifest {path} is of {head['dataset']}, but the dataset is {dataset.name}.")
    if folds not in (None, dataset.choices.get("folds")):
        raise UserError(f"manifest {path} is of {folds} folds, but data.folds is {dataset.choices.get('folds')}.")
    if head["classes"] not in get_args(Part):
        raise UserError(f"manifest {path}: classes must be {listed(get_args(Part), 'or')}, but is {head['classes']}.")
    if not episodes:
        raise UserError(f"manifest {path} names no episode.")
    try:
        find_protocol(head["protocol"], dataset.name)
        wanted = _classes(dataset, head["fold"], head["classes"])
    except UserError as error:
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
