"""Manifests: lists of test episodes by image id and class name, with which a result can be repeated exactly."""

import dataclasses
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ml_collections import ConfigDict

from mmnet_jax.data.dataset import Dataset, find_spec
from mmnet_jax.data.datasets.spec import DatasetSpec, Part
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.errors import UserError, first_of, listed
from mmnet_jax.evaluation.draws import Episode, Request
from mmnet_jax.evaluation.protocols import PROTOCOLS, Protocol, default_episodes, find_protocol
from mmnet_jax.storage.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A list of test episodes and the rules by which it was drawn."""

    dataset: str
    choices: Mapping[str, str]
    """``DatasetSpec.choices``: the variant and the folds, if the dataset has several."""
    fold: int
    classes: Part
    """The part of the fold's classes from which the episodes' classes are drawn."""
    shots: int
    protocol: str
    seeds: tuple[int, ...]
    restricted: str | None
    """``Drawn.restricted``."""
    class_ids: Mapping[str, int]
    """The value of each class in the dataset's masks, by name, for the classes from which episodes are drawn."""
    episodes: tuple[Episode, ...]
    """The episodes of all seeds, one seed after the other, the same number for each."""

    @property
    def name(self) -> str:
        """A file name, such as ``pfenet_pascal5i_fold1_1shot_5000episodes_seed321``."""
        protocol = f"{self.protocol}_{self.restricted.replace(' ', '_')}" if self.restricted else self.protocol
        seeds = f"seed{self.seeds[0]}" if len(self.seeds) == 1 else f"{len(self.seeds)}seeds"
        return f"{protocol}_{self.dataset}_fold{self.fold}_{self.shots}shot_{self.per_seed}episodes_{seeds}"

    @property
    def label(self) -> str:
        """The protocol, with the part of its lists if they are restricted: ``hsnet, 48 of 451 queries``."""
        return f"{self.protocol}, {self.restricted}" if self.restricted else self.protocol

    @property
    def rules(self) -> Protocol:
        """The rules of its protocol."""
        return PROTOCOLS[self.protocol]

    @property
    def per_seed(self) -> int:
        """Number of episodes of each seed."""
        return len(self.episodes) // len(self.seeds)

    @property
    def ignored_is_background(self) -> bool:
        """True: ignored pixels (255) of the query's label count as background; False: they do not count."""
        lists = find_spec(self.dataset).hsnet if self.rules.own_lists else None
        return lists is not None and lists.ignored_is_background

    def by_seed(self) -> "list[Manifest]":
        """One manifest for each seed."""
        starts = range(0, len(self.episodes), self.per_seed)
        return [
            dataclasses.replace(self, seeds=(seed,), episodes=self.episodes[start : start + self.per_seed])
            for seed, start in zip(self.seeds, starts, strict=True)
        ]

    def sha256(self) -> list[str]:
        """``episodes_sha256`` of each seed."""
        return [episodes_sha256(part.episodes) for part in self.by_seed()]

    def on(self, dataset: Dataset) -> "Manifest":
        """The manifest with the dataset's ``choices``; raises ``UserError`` as ``specs`` does."""
        self.specs(dataset)
        return dataclasses.replace(self, choices=dataset.choices)

    def specs(self, dataset: Dataset) -> list[EpisodeSpec]:
        """The episodes by position in the dataset's test split.

        Raises ``UserError`` if the dataset or its folds are others, or an image or a class is missing.
        """
        if self.dataset != dataset.name:
            raise UserError(f"the manifest is of {self.dataset}, but the dataset is {dataset.name}.")
        folds, prepared_folds = self.choices.get("folds"), dataset.choices.get("folds")
        if folds not in (None, prepared_folds):
            raise UserError(f"the manifest is of {folds} folds, but data.folds is {prepared_folds}.")
        indices, positions = (
            {name: i for i, name in enumerate(names)} for names in (dataset.class_names, dataset.test.ids)
        )
        for name, value in self.class_ids.items():
            if name not in indices:
                raise UserError(f"{self.dataset} has no class {name}.")
            (prepared,) = _class_ids(dataset.spec, [indices[name]]).values()
            if value != prepared:
                raise UserError(f"class {name} is {value} in the manifest, but {prepared} in the prepared masks.")
        images = dict.fromkeys(image for e in self.episodes for image in (e.query, *e.supports))
        if missing := [image for image in images if image not in positions]:
            raise UserError(
                f"{len(missing):,} of the {len(images):,} test images that the manifest names are not in the prepared "
                f"{self.dataset}: {first_of(missing)}; prepare them, or draw episodes of the images present "
                "(python -m mmnet_jax.manifest)."
            )
        return [
            EpisodeSpec(positions[e.query], indices[e.class_name], tuple(positions[s] for s in e.supports))
            for e in self.episodes
        ]


def draw_manifest(
    dataset: Dataset,
    *,
    fold: int,
    shots: int,
    protocol: str,
    seeds: Sequence[int],
    min_pixels: int,
    episodes: int | None = None,
    classes: Part = "novel",
    restrict: bool = False,
) -> Manifest:
    """Draws the episodes of a protocol from the test split.

    Args:
      min_pixels: pixels of a class that admit an image to PFENet's lists.
      episodes: number of episodes of each seed; the protocol's if None.
      restrict: leave missing images out of HSNet's lists.

    Raises:
      UserError: the protocol or the fold is unknown, no class has enough images for this many shots, or listed images
        are missing.
    """
    rules = find_protocol(protocol, dataset.spec, dataset.folds)
    wanted = dataset.classes(fold, classes)
    if not wanted:
        raise UserError(f"{dataset.name} has no {classes} classes in fold {fold}.")
    count = default_episodes(dataset.spec, protocol) if episodes is None else episodes
    drawn = rules.draw(Request(dataset, fold, wanted, shots, seeds, count, min_pixels, restrict))
    about = dataset.choices, fold, classes, shots, protocol, tuple(seeds), drawn.restricted
    return Manifest(dataset.name, *about, _class_ids(dataset.spec, wanted), drawn.episodes)


def configured_manifest(dataset: Dataset, config: ConfigDict, seed: int | None = None, **given: Any) -> Manifest:
    """``draw_manifest`` with defaults from a resolved config for arguments that are absent or None.

    ``seed`` replaces the protocol's seeds.
    """
    given = {name: value for name, value in given.items() if value is not None}
    configured = {"fold": config.fold, "shots": config.shots, "protocol": config.evaluation.protocol}
    configured |= {"min_pixels": config.data.min_pixels, "episodes": config.evaluation.episodes}
    settings = {**configured, **given}
    protocol = find_protocol(settings["protocol"], dataset.spec, dataset.folds)
    seeds = protocol.seeds_or(config.seed) if seed is None else (seed,)
    return draw_manifest(dataset, seeds=seeds, **settings)


def _class_ids(spec: DatasetSpec, classes: Sequence[int]) -> dict[str, int]:
    """``Manifest.class_ids`` of these classes: each one's index, or 1 if each image has one class."""
    return {spec.class_names[c]: 1 if spec.one_class else c for c in classes}


def episodes_sha256(episodes: Sequence[Episode]) -> str:
    """SHA-256 in hexadecimal of the list of episodes as UTF-8 JSON with sorted keys and no spaces."""
    text = json.dumps([e.as_json() for e in episodes], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_files(path: Path, seeds: Sequence[int]) -> list[Path]:
    """The file of each seed: ``path`` for a single one, ``NAME_seed510.json`` and so on for ``NAME.json`` otherwise."""
    if len(seeds) == 1:
        return [path]
    stem, dot, suffix = path.name.partition(".json")
    return [path.with_name(f"{stem}_seed{seed}{dot}{suffix}") for seed in seeds]


def manifest_text(manifest: Manifest) -> str:
    """A manifest of one seed as JSON, with one line for each episode."""
    (seed,), (sha256,) = manifest.seeds, manifest.sha256()
    names = ("fold", "classes", "shots", "protocol", "restricted")
    head = {"dataset": manifest.dataset, **manifest.choices} | {name: getattr(manifest, name) for name in names}
    head |= {"seed": seed, "scoring": manifest.rules.scoring, "class_ids": dict(manifest.class_ids), "sha256": sha256}
    head = {name: value for name, value in head.items() if value is not None}
    lines = [json.dumps(e.as_json(), ensure_ascii=False) for e in manifest.episodes]
    start = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    return start + ',\n "episodes": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write_manifest(path: Path, manifest: Manifest) -> list[Path]:
    """Writes ``manifest_files``, each atomically, compressed if the name ends in ``.gz``."""
    files = manifest_files(path, manifest.seeds)
    for file, part in zip(files, manifest.by_seed(), strict=True):
        content = manifest_text(part).encode()
        write_atomically(file, gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    return files


def read_manifest(*files: str | Path, dataset: Dataset | None = None) -> Manifest:
    """Reads a manifest from its files, one for each seed in any order; with a ``dataset``, ``Manifest.on`` it.

    Raises ``UserError`` if a file is missing or is not a manifest, the files differ in more than their seeds, or the
    dataset does not fit.
    """
    parts = []
    for file in files:
        try:
            part = _parse(_load(file))
            parts.append(part if dataset is None else part.on(dataset))
        except UserError as error:
            raise UserError(f"manifest {file}: {error}") from None
    shared = [(dataclasses.replace(part, seeds=(), episodes=()), part.per_seed) for part in parts]
    for file, rules in zip(files, shared, strict=True):
        if rules != shared[0]:
            raise UserError(f"manifests {files[0]} and {file} differ in more than their seeds; give those of one list.")
    order = parts[0].rules.seeds or ()
    parts.sort(key=lambda part: order.index(part.seeds[0]) if part.seeds[0] in order else len(order))
    seeds = tuple(seed for part in parts for seed in part.seeds)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"manifests {listed(map(str, files), 'and')} repeat a seed; give one file for each seed.")
    return dataclasses.replace(parts[0], seeds=seeds, episodes=tuple(e for part in parts for e in part.episodes))


def _load(file: str | Path) -> Any:
    try:
        content = Path(file).read_bytes()
        return json.loads(gzip.decompress(content) if Path(file).suffix == ".gz" else content)
    except FileNotFoundError:
        raise UserError("the file does not exist.") from None
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"the file cannot be read: {error}.") from None


def _parse(content: Any) -> Manifest:
    """The manifest in a file's JSON; a ``UserError`` names its fault."""
    try:
        head: dict[str, Any] = {name: str(content[name]) for name in ("dataset", "classes", "protocol")}
        head |= {name: int(content[name]) for name in ("fold", "shots")}
        head |= {"seeds": (int(content["seed"]),), "restricted": content.get("restricted")}
        class_ids = {str(name): int(value) for name, value in content.get("class_ids", {}).items()}
        episodes = tuple(
            Episode(str(e["query"]), str(e["class"]), tuple(map(str, e["supports"]))) for e in content["episodes"]
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(f"it is not a manifest: {type(error).__name__} {error}.") from None
    spec = find_spec(head["dataset"], content.get("folds"))
    choices = {name: str(content[name]) for name in (spec.variant_flag, "folds") if name in content and name != "seed"}
    find_protocol(head["protocol"], spec, choices.get("folds"))
    spec.check_fold(head["fold"])
    if head["classes"] not in get_args(Part):
        raise UserError(f"classes must be {listed(get_args(Part), 'or')}, but is {head['classes']}.")
    if not episodes:
        raise UserError("it has no episodes.")
    if head["shots"] < 1:
        raise UserError(f"shots must be at least 1, but is {head['shots']}.")
    if not class_ids and len(spec.class_names) > 1:  # files of early versions lack them
        class_ids = _class_ids(spec, spec.classes(head["fold"], head["classes"], choices.get("folds")))
    for number, e in enumerate(episodes):
        if len(e.supports) != head["shots"]:
            raise UserError(f"episode {number}: {len(e.supports)} supports, but shots is {head['shots']}.")
        if e.query in e.supports:
            raise UserError(f"episode {number}: the query {e.query} is among its own supports.")
        if e.class_name not in class_ids:
            part = f"the {head['classes']} classes of fold {head['fold']}"
            raise UserError(f"episode {number}: {e.class_name} is not one of {part}; class_ids names these.")
    if content.get("sha256") not in (None, episodes_sha256(episodes)):
        raise UserError("its episodes do not match its sha256; it was changed after it was written.")
    return Manifest(choices=choices, class_ids=class_ids, episodes=episodes, **head)
