"""Scores a trained network: ``python -m mmnet_jax.evaluate --workdir=DIR [--protocol=pfenet --episodes=N ...]``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.cli.output import can_be_made, new_folder, output_file
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from mmnet_jax.data.dataset import Dataset
    from mmnet_jax.evaluation.manifest import Manifest
    from mmnet_jax.evaluation.transfer import Transfer
    from mmnet_jax.workdir.folder import Workdir

FLAGS = flags.FLAGS
CHOICES = ("fold", "shots", "protocol", "episodes", "seed")  # flags that choose the episodes
ALL = "all"  # the value of --protocol that names every protocol


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    protocols = "Episode-sampling protocol, or all: each one that the data allows."
    flags.DEFINE_string("protocol", None, f"{protocols} (default: the config's)")
    flags.DEFINE_integer("episodes", None, "Episodes of each seed. (default: the protocol's)", lower_bound=1)
    flags.DEFINE_integer("shots", None, "Support images an episode. (default: the config's)", lower_bound=1)
    flags.DEFINE_integer("fold", None, "Fold of the novel classes. (default: the config's)", lower_bound=0)
    flags.DEFINE_integer("seed", None, "Episode seed. (default: the protocol's or the config's)", 0, 2**31 - 1)
    flags.DEFINE_bool("restrict", False, "Draw from HSNet's lists without the images that are missing.")
    flags.DEFINE_string("data_dir", None, "Where the prepared datasets are. (default: the config's)")
    flags.DEFINE_string("dataset", None, "Another dataset than the training's; classes trained on are left out.")
    flags.DEFINE_string("split", None, "Variant of --dataset. (default: the first one that is prepared)")
    several = "its file, those of its seeds joined by commas, or a shipped name."
    flags.DEFINE_string("manifest", None, f"Repeat the episodes of a manifest: {several}")
    flags.DEFINE_string("output", None, "The result's file. (default: in results/ of the workdir)")
    flags.DEFINE_string("save_masks", None, "New folder for the predicted masks, one PNG an episode.")
    define_cache_flag()


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.evaluation.checkpoint import score_workdir
    from mmnet_jax.evaluation.protocol_table import protocols_json, protocols_markdown, write_protocols
    from mmnet_jax.evaluation.report import report
    from mmnet_jax.workdir.folder import Workdir

    workdir = Workdir(FLAGS.workdir)
    config = workdir.load_config()
    if FLAGS.output:
        output_file("output", FLAGS.output)
    elif not can_be_made(workdir.results / "result.json"):
        place = workdir.results.absolute()
        raise UserError(f"{place} cannot be written; give another place for the result: --output=FILE.json.")
    if FLAGS.save_masks:
        new_folder("save_masks", FLAGS.save_masks)
    if FLAGS.data_dir:
        config.data.data_dir = FLAGS.data_dir
    dataset, transfer = _open(workdir, config)
    config = transfer.config if transfer else config
    manifests, refused = _manifests(config, dataset)
    first = manifests[0]  # the others ask for the same classes
    if transfer:
        transfer.check(first.class_ids)
    elif first.fold != config.fold:
        trained = f"this network was trained on the base classes of fold {config.fold}"
        _note(f"{trained}, to which the novel classes of fold {first.fold} belong")
    notes = transfer.notes() if transfer else ()
    scored = []
    for manifest in manifests:
        output, masks = _outputs(manifest.protocol)
        scored.append(
            score_workdir(
                workdir,
                config,
                dataset,
                manifest,
                checkpoint=FLAGS.checkpoint,
                output=output,
                masks=masks,
                notes=notes,
                say=Printer(error=True),
            )
        )
    files = [file for one in scored for file in one.files]
    if FLAGS.protocol == ALL:
        table = protocols_json([one.summary for one in scored], refused)
        name = f"protocols_{first.dataset}_fold{first.fold}_{first.shots}shot_step{table['step']}.json"
        files = write_protocols(Path(FLAGS.output or workdir.results / name), table) + files
        print(protocols_markdown(table), end="")
    else:
        print(report(scored[0].summary))
    print("written: " + " ".join(map(str, files)))


def _outputs(protocol: str) -> tuple[Path | None, Path | None]:
    """The result's file and the folder of masks of one protocol, each None where no flag gives it."""
    output, masks = (Path(value) if value else None for value in (FLAGS.output, FLAGS.save_masks))
    if FLAGS.protocol != ALL:
        return output, masks
    own = output and output.with_name(f"{output.name.removesuffix('.json')}_{protocol}.json")
    return own, masks and masks / protocol


def _open(workdir: Workdir, config: ConfigDict) -> tuple[Dataset, Transfer | None]:
    """The dataset to score on, and its ``Transfer`` where it is another one than the training's."""
    from mmnet_jax.config.values import dataset_choice
    from mmnet_jax.data.dataset import open_dataset
    from mmnet_jax.evaluation.transfer import open_transfer

    if FLAGS.dataset not in (None, config.data.dataset):
        transfer = open_transfer(config, FLAGS.dataset, FLAGS.split)
        return transfer.dataset, transfer
    if FLAGS.split:
        raise UserError(f"--split={FLAGS.split} is for another --dataset; the training's own keeps its variant.")
    dataset = open_dataset(*dataset_choice(config))
    if workdir.data_sha256() not in (None, dataset.fingerprints()):
        _note("these are not the images that the network was trained with, and its base classes may differ")
    return dataset, None


def _manifests(config: ConfigDict, dataset: Dataset) -> tuple[list[Manifest], dict[str, str]]:
    """The episodes of each protocol that the flags name; by protocol, why one of ``--protocol=all`` is refused."""
    from mmnet_jax.evaluation.manifest import configured_manifest
    from mmnet_jax.evaluation.protocols import PROTOCOLS

    given = {name: FLAGS[name].value for name in CHOICES}
    if FLAGS.manifest:
        if FLAGS.protocol == ALL:
            raise UserError(f"--protocol={ALL} contradicts --manifest={FLAGS.manifest}, which is of one protocol.")
        if FLAGS.restrict:
            raise UserError(f"--restrict contradicts --manifest={FLAGS.manifest}, whose episodes are drawn already.")
        return [_read_manifest(dataset, given)], {}
    if FLAGS.protocol != ALL:
        return [configured_manifest(dataset, config, restrict=FLAGS.restrict, **given)], {}
    manifests, refused = [], {}
    for name in PROTOCOLS:
        try:
            own = given | {"protocol": name}
            manifests.append(configured_manifest(dataset, config, restrict=FLAGS.restrict, **own))
        except UserError as error:
            refused[name] = str(error)
    if not manifests:
        raise UserError(next(iter(refused.values())))
    return manifests, refused


def _read_manifest(dataset: Dataset, given: Mapping[str, Any]) -> Manifest:
    """The episodes of ``--manifest``, with which the other flags must agree."""
    from mmnet_jax.evaluation.manifest import read_manifest
    from mmnet_jax.evaluation.shipped import find_manifests

    manifest = read_manifest(*find_manifests(FLAGS.manifest), dataset=dataset)
    held = {name: getattr(manifest, name) for name in ("fold", "shots", "protocol")}
    held |= {"episodes": manifest.per_seed, "seed": ",".join(map(str, manifest.seeds))}
    for name, value in given.items():
        if value is not None and str(value) != str(held[name]):
            raise UserError(f"--{name}={value} contradicts --manifest={FLAGS.manifest}, whose {name} is {held[name]}.")
    return manifest


def _note(text: str) -> None:
    print(f"note: {text}.", file=sys.stderr)


if __name__ == "__main__":
    define_flags()
    run(main)
