"""Scores a trained network: ``python -m mmnet_jax.evaluate --workdir=DIR [--protocol=pfenet --episodes=N ...]``."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mmnet_jax.command import run
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from mmnet_jax.data import Dataset
    from mmnet_jax.evaluation import Manifest, Result

FLAGS = flags.FLAGS
SAMPLES = 12
"""Episodes on the sheet of pictures."""


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

    from mmnet_jax import evaluation, weights
    from mmnet_jax.data import open_dataset
    from mmnet_jax.workdir import Workdir, load_step

    workdir = Workdir(FLAGS.workdir)
    model, variables, config, step = load_step(workdir.path, FLAGS.checkpoint)
    if FLAGS.data_dir:
        config.data.data_dir = FLAGS.data_dir
    dataset = open_dataset(config)
    manifest = _manifest(config, dataset)
    if manifest.fold != config.fold:
        print(
            f"note: this network was trained on the base classes of fold {config.fold}, "
            f"to which the novel classes of fold {manifest.fold} belong.",
            file=sys.stderr,
        )
    result = evaluation.evaluate(
        model,
        variables,
        config,
        dataset,
        manifest,
        baselines=True,
        samples=SAMPLES,
        progress=_show,
        progress_seconds=1.0 if sys.stderr.isatty() else 30.0,
    )
    _show("")
    summary = evaluation.result_json(
        result,
        config,
        dataset,
        checkpoint=FLAGS.checkpoint,
        step=step,
        weights_sha256=weights.sha256(workdir.backbone_file),
    )
    output = Path(FLAGS.output) if FLAGS.output else workdir.results / f"{_name(manifest)}_step{step}.json"
    files = evaluation.write_result(output, summary, result, dataset)
    print(_report(result))
    print("written: " + " ".join(map(str, files)))


def _refuse_unwritable(output: Path) -> None:
    """An evaluation takes long; better to know before it than after."""

    if output.is_dir():
        raise UserError(f"--output={output} is a folder; give the name of a file.")
    nearest = next(folder for folder in output.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"--output={output} cannot be written.")


def _manifest(config: ConfigDict, dataset: Dataset) -> Manifest:
    """The episodes that the flags ask for; given a manifest, the other flags must agree with it."""
    from mmnet_jax.evaluation import configured_manifest, read_manifest

    if not FLAGS.manifest:
        return configured_manifest(
            dataset,
            config,
            fold=FLAGS.fold,
            shots=FLAGS.shots,
            protocol=FLAGS.protocol,
            episodes=FLAGS.episodes,
            seed=FLAGS.seed,
        )
    manifest = read_manifest(FLAGS.manifest, dataset)
    held = dataclasses.asdict(manifest) | {"episodes": len(manifest.episodes)}
    for name in ("fold", "shots", "protocol", "episodes", "seed"):
        asked = FLAGS[name].value
        if asked is not None and asked != held[name]:
            raise UserError(f"--{name}={asked} contradicts --manifest={FLAGS.manifest}, whose {name} is {held[name]}.")
    return manifest


def _show(line: str) -> None:
    """Progress on stderr; on a terminal each line takes the place of the one before."""
    if sys.stderr.isatty():
        print(f"\r{line:<79}\r", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


def _name(manifest: Manifest) -> str:
    return (
        f"{manifest.protocol}_{manifest.dataset}_fold{manifest.fold}_{manifest.shots}shot_"
        f"{len(manifest.episodes)}episodes_seed{manifest.seed}"
    )


def _report(result: Result) -> str:
    """The result for reading."""
    low, high = result.interval95
    manifest = result.manifest
    lines = [
        f"{manifest.dataset} fold {manifest.fold}, {manifest.shots}-shot, protocol {manifest.protocol}, "
        f"{result.episodes:,} episodes, seed {manifest.seed}",
        f"mIoU {result.miou:.2f} [{low:.2f}, {high:.2f}]   FB-IoU {result.fb_iou:.2f}",
        "  ".join(f"{name} {iou:.1f}" for name, iou in result.class_iou.items()),
    ]
    if result.left_out:
        lines.append(f"without episodes, so not in the mean: {', '.join(result.left_out)}")
    for name, baseline in result.baselines.items():
        cut = "" if baseline.threshold is None else f" cut at {baseline.threshold:.2f}"
        low, high = baseline.scores.interval95
        lines.append(f"baseline {name}{cut}: mIoU {baseline.scores.miou:.2f} [{low:.2f}, {high:.2f}]")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    run(main)
