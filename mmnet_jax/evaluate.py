"""Scores a trained network: ``python -m mmnet_jax.evaluate --workdir=DIR [--protocol=pfenet --episodes=N ...]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from mmnet_jax.data.dataset import Dataset
    from mmnet_jax.evaluation.manifest import Manifest
    from mmnet_jax.workdir.folder import Workdir

FLAGS = flags.FLAGS
CHOICES = ("fold", "shots", "protocol", "episodes", "seed")  # flags that choose the episodes


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_string("protocol", None, "Episode-sampling protocol. (default: the config's)")
    flags.DEFINE_integer("episodes", None, "Number of episodes. (default: the protocol's)", lower_bound=1)
    flags.DEFINE_integer("shots", None, "Support images an episode. (default: the config's)", lower_bound=1)
    flags.DEFINE_integer("fold", None, "Fold of the novel classes. (default: the config's)", lower_bound=0)
    flags.DEFINE_integer("seed", None, "Episode seed. (default: the protocol's or the config's)", 0, 2**31 - 1)
    flags.DEFINE_string("data_dir", None, "Where the prepared datasets are. (default: the config's)")
    flags.DEFINE_string(
        "manifest",
        None,
        "Repeat the episodes of a manifest: its file, those of its seeds joined by commas, or a shipped name.",
    )
    flags.DEFINE_string("output", None, "The result's file. (default: in results/ of the workdir)")


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.config.values import dataset_choice
    from mmnet_jax.data.dataset import open_dataset
    from mmnet_jax.evaluation.checkpoint import score_workdir
    from mmnet_jax.evaluation.report import report
    from mmnet_jax.workdir.folder import Workdir

    workdir = Workdir(FLAGS.workdir)
    config = workdir.load_config()
    _refuse_unwritable(workdir)
    if FLAGS.data_dir:
        config.data.data_dir = FLAGS.data_dir
    dataset = open_dataset(*dataset_choice(config))
    if workdir.data_sha256() not in (None, dataset.fingerprints()):
        changed = "these are not the images that the network was trained with, and its base classes may differ"
        print(f"note: {changed}.", file=sys.stderr)
    scored = score_workdir(
        *(workdir, config, dataset, _manifest(config, dataset)),
        checkpoint=FLAGS.checkpoint,
        output=Path(FLAGS.output) if FLAGS.output else None,
        say=Printer(error=True),
    )
    print(report(scored.summary))
    print("written: " + " ".join(map(str, scored.files)))


def _refuse_unwritable(workdir: Workdir) -> None:
    """Before the evaluation, which takes long."""
    output = Path(FLAGS.output or workdir.results / "result.json").absolute()
    if FLAGS.output and output.is_dir():
        raise UserError(f"--output={FLAGS.output} is a folder; give the name of a file.")
    nearest = next(folder for folder in output.parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        if FLAGS.output:
            raise UserError(f"--output={FLAGS.output} cannot be written.")
        raise UserError(f"{nearest} cannot be written; give another place for the result: --output=FILE.json.")


def _manifest(config: ConfigDict, dataset: Dataset) -> Manifest:
    """The episodes that the flags ask for."""
    from mmnet_jax.evaluation.manifest import configured_manifest

    given = {name: FLAGS[name].value for name in CHOICES}
    manifest = _read_manifest(dataset, given) if FLAGS.manifest else configured_manifest(dataset, config, **given)
    if manifest.fold != config.fold:
        trained = f"this network was trained on the base classes of fold {config.fold}"
        print(f"note: {trained}, to which the novel classes of fold {manifest.fold} belong.", file=sys.stderr)
    return manifest


def _read_manifest(dataset: Dataset, given: Mapping[str, Any]) -> Manifest:
    """The episodes of ``--manifest``, with which the other flags must agree."""
    from mmnet_jax.evaluation.manifest import read_manifest
    from mmnet_jax.evaluation.shipped import find_manifests

    manifest = read_manifest(*find_manifests(FLAGS.manifest), dataset=dataset)
    held = {name: getattr(manifest, name) for name in ("fold", "shots", "protocol")}
    held |= {"episodes": manifest.per_seed, "seed": ",".join(map(str, manifest.seeds))}
    for name, asked in given.items():
        if asked is not None and str(asked) != str(held[name]):
            raise UserError(f"--{name}={asked} contradicts --manifest={FLAGS.manifest}, whose {name} is {held[name]}.")
    return manifest


if __name__ == "__main__":
    define_flags()
    run(main)
