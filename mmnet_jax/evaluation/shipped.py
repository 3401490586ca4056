"""The canonical episodes that the package ships: manifests by name, such as ``pfenet_pascal5i_fold0_1shot``."""

from collections.abc import Iterator
from pathlib import Path

from mmnet_jax.config import FIELDS
from mmnet_jax.data.dataset import Dataset, listed_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import Manifest, draw_manifest, manifest_files
from mmnet_jax.evaluation.protocols import PROTOCOLS

FOLDER = Path(__file__).parent / "manifests"
SHOTS = (1, 5)
CANONICAL = {"pascal5i": ("pfenet", "hsnet", "bam"), "coco20i": ("hsnet",)}
"""Dataset -> the protocols whose episodes can be drawn from the package's lists, without images."""


def canonical_manifests() -> Iterator[tuple[str, Manifest]]:
    """The name and the episodes of each shipped manifest, drawn anew: every fold, 1-shot and 5-shot."""
    for name, protocols in CANONICAL.items():
        dataset = listed_dataset(name, "protocol" if name == "pascal5i" else "all")
        for protocol in protocols:
            for fold in range(dataset.spec.folds):
                for shots in SHOTS:
                    yield f"{protocol}_{name}_fold{fold}_{shots}shot", draw_canonical(dataset, protocol, fold, shots)


def draw_canonical(dataset: Dataset, protocol: str, fold: int, shots: int) -> Manifest:
    """The episodes of a protocol by its own numbers, for the seeds that it names, or else the config's default."""
    seeds, pixels = PROTOCOLS[protocol].seeds_or(FIELDS["seed"].default), dataset.spec.min_pixels
    return draw_manifest(dataset, fold=fold, shots=shots, protocol=protocol, seeds=seeds, min_pixels=pixels)


def find_manifests(given: str) -> list[Path]:
    """The files that a flag names: paths joined by commas, or the name of a shipped manifest, whose seeds come along.

    A path that is there wins over a shipped name. Raises ``UserError`` for a name that is neither.
    """
    names = [given] if Path(given).exists() else given.split(",")
    return [file for name in names for file in ([Path(name)] if Path(name).exists() else _shipped(name))]


def _shipped(name: str) -> list[Path]:
    """The files of a shipped manifest; where there is none, ``name`` if it looks like a path."""
    file = FOLDER / f"{name}.json.gz"
    protocol = PROTOCOLS.get(name.partition("_")[0])
    of_seeds = manifest_files(file, (protocol and protocol.seeds) or (0,))
    for found in ([file], of_seeds):
        if all(file.is_file() for file in found):
            return found
    if {".", "/"} & set(name):
        return [Path(name)]
    advice = "shipped ones have names such as pfenet_pascal5i_fold0_1shot"
    raise UserError(f"manifest {name} is no file and none of the shipped ones; {advice}.")
