"""The canonical manifests in the package, by name, such as ``pfenet_pascal5i_fold0_1shot``."""

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
"""Dataset -> protocols whose episodes can be drawn from the package's lists, without images."""


def canonical_manifests() -> Iterator[tuple[str, Manifest]]:
    """Draws every shipped manifest and yields it with its name: all folds, 1-shot and 5-shot."""
    for name, protocols in CANONICAL.items():
        dataset = listed_dataset(name, "protocol" if name == "pascal5i" else "all")
        for protocol in protocols:
            for fold in range(dataset.spec.folds):
                for shots in SHOTS:
                    yield f"{protocol}_{name}_fold{fold}_{shots}shot", draw_canonical(dataset, protocol, fold, shots)


def draw_canonical(dataset: Dataset, protocol: str, fold: int, shots: int) -> Manifest:
    """A protocol's standard number of episodes, for its seeds or the config's default seed."""
    seeds, pixels = PROTOCOLS[protocol].seeds_or(FIELDS["seed"].default), dataset.spec.min_pixels
    return draw_manifest(dataset, fold=fold, shots=shots, protocol=protocol, seeds=seeds, min_pixels=pixels)


def find_manifests(given: str) -> list[Path]:
    """The files that a flag names: paths joined by commas, or a shipped name, which stands for the files of all seeds.

    An existing path takes precedence over a shipped name. Raises ``UserError`` for a name that is neither.
    """
    names = [given] if Path(given).exists() else given.split(",")
    return [file for name in names for file in ([Path(name)] if Path(name).exists() else _shipped(name))]


def _shipped(name: str) -> list[Path]:
    """The files of a shipped manifest; ``name`` itself if there is none and it looks like a path."""
    file = FOLDER / f"{name}.json.gz"
    protocol = PROTOCOLS.get(name.partition("_")[0])
    of_seeds = manifest_files(file, (protocol and protocol.seeds) or (0,))
    for found in ([file], of_seeds):
        if all(file.is_file() for file in found):
            return found
    if {".", "/"} & set(name):
        return [Path(name)]
    advice = "those have names such as pfenet_pascal5i_fold0_1shot"
    raise UserError(f"manifest {name} is neither a file nor a shipped manifest; {advice}.")
