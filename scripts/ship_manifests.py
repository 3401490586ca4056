"""Writes the canonical manifests of the package: python scripts/ship_manifests.py [--output=FOLDER]."""

from pathlib import Path

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.evaluation.manifest import write_manifest
from mmnet_jax.evaluation.shipped import FOLDER, canonical_manifests

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("output", str(FOLDER), "Folder of the manifests.")


def main() -> None:
    folder = Path(FLAGS.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, manifest in canonical_manifests():
        for file, sha256 in zip(write_manifest(folder / f"{name}.json.gz", manifest), manifest.sha256(), strict=True):
            print(f"{sha256}  {file.name}")


if __name__ == "__main__":
    define_flags()
    command.run(main)
