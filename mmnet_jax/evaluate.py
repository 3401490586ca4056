"""Scores a trained network: ``python -m mmnet_jax.evaluate --workdir=DIR [--protocol=pfenet --episodes=N ...]``."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from mmnet_jax.data.dataset import Dataset
    from mmnet_jax.evaluation.protocols import Manifest

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_string("protocol", None, "Whose rules draw the episodes. (default: the config's)")
    flags.DEFINE_integer("episodes", None, "How many. (default: the protocol's number)", lower_bound=1)
    flags.DEFINE_integer("shots", None, "Support images an episode. (default: the config's)", lower_bound=1)
    flags.DEFINE_integer("fold", None, "Whose novel classes. (default: the config's)", 0, 3)
    flags.DEFINE_integer("seed", None, "Of the episodes. (default: the config's)", 0, 2**31 - 1)
    flags.DEFINE_string("data_dir", None, "Where the prepared datasets are. (default: the config's)")
    flags.DEFINE_string("manifest", None, "Repeat the very episodes of an earlier result's manifest.")
    flags.DEFINE_string("output", None, "The result's file. (default: in results/ of the workdir)")


def main() -> None:
    if FLAGS.output:
        _refuse_unwritable(Path(FLAGS.output))

    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.evaluation.checkpoint import score_workdir
    from mmnet_jax.evaluation.summary import report
    from mmnet_jax.workdir.folder import Workdir

    workdir = Workdir(FLAGS.workdir)
    config = workdir.load_config()
    if FLAGS.data_dir:
        config.data.data_dir = FLAGS.data_dir
    scored = score_workdir(
        workdir,
        config,
        lambda dataset: _manifest(config, dataset),
        checkpoint=FLAGS.checkpoint,
        output=Path(FLAGS.output) if FLAGS.output else None,
        say=Printer(error=True),
    )
    print(report(scored.summary))
    print("written: " + " ".join(map(str, scored.files)))


def _refuse_unwritable(output: Path) -> None:
    """An evaluation takes long; better to know before it than after."""

    if output.is_dir():
        raise UserError(f"--output={output} is a folder; give the name of a file.")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--output={output} cannot be written.")


def _manifest(config: ConfigDict, dataset: Dataset) -> Manifest:
    """The episodes that the flags ask for."""
    manifest = _read_manifest(dataset) if FLAGS.manifest else _draw_manifest(config, dataset)
    if manifest.fold != config.fold:
        print(
            f"note: this network was trained on the base classes of fold {config.fold}, "
            f"to which the novel classes of fold {manifest.fold} belong.",
            file=sys.stderr,
        )
    return manifest


def _draw_manifest(config: ConfigDict, dataset: Dataset) -> Manifest:
    from mmnet_jax.evaluation.protocols import configured_manifest

    return configured_manifest(
        dataset,
        config,
        fold=FLAGS.fold,
        shots=FLAGS.shots,
        protocol=FLAGS.protocol,
        episodes=FLAGS.episodes,
        seed=FLAGS.seed,
    )


def _read_manifest(dataset: Dataset) -> Manifest:
    """Those of ``--manifest``, with which the other flags must agree."""
    from mmnet_jax.evaluation.protocols import read_manifest

    manifest = read_manifest(FLAGS.manifest, dataset)
    held = dataclasses.asdict(manifest) | {"episodes": len(manifest.episodes)}
    for name in ("fold", "shots", "protocol", "episodes", "seed"):
        asked = FLAGS[name].value
        if asked is not None and asked != held[name]:
            raise UserError(f"--{name}={asked} contradicts --manifest={FLAGS.manifest}, whose {name} is {held[name]}.")
    return manifest


if __name__ == "__main__":
    define_flags()
    run(main)
