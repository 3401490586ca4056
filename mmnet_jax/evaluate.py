"""Evaluates a trained network: ``python -m mmnet_jax.evaluate --workdir=DIR [--protocol=pfenet --episodes=N ...]``."""

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
ALL = "all"  # the value of --protocol for every protocol


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the trained network.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    protocols = "Episode-sampling protocol, or all: every protocol that the data allows."
    flags.DEFINE_string("protocol", None, f"{protocols} (default: the config's)")
    flags.DEFINE_integer("episodes", None, "Episodes of each seed. (default: the protocol's)", lower_bound=1)
    flags.DEFINE_integer("shots", None, "Support images of an episode. (default: the config's)", lower_bound=1)
    flags.DEFINE_integer("fold", None, "Fold of the novel classes. (default: the config's)", lower_bound=0)
    flags.DEFINE_integer("seed", None, "Episode seed. (default: the protocol's or the config's)", 0, 2**31 - 1)
    flags.DEFINE_bool("restrict", False, "Leave missing images out of HSNet's lists.")
    flags.DEFINE_string("data_dir", None, "Folder of the prepared datasets. (default: the config's)")
    flags.DEFINE_string("dataset", None, "Dataset other than the training's; classes seen in training are left out.")
    flags.DEFINE_string("split", None, "Variant of --dataset. (default: the first prepared one)")
    files = "its file, the files of its seeds joined by commas, or a shipped name."
    flags.DEFINE_string("manifest", None, f"Repeat the episodes of a manifest: {files}")
    changes = "evaluation.FIELD=VALUE: change a config field, such as evaluation.batch_size=1."
    flags.DEFINE_multi_string("set", [], changes)
    flags.DEFINE_string("output", None, "The result's file. (default: in results/ of the workdir)")
    flags.DEFINE_string("save_masks", None, "New folder for the predicted masks, one PNG for each episode.")
    define_cache_flag()


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.evaluation.checkpoint import restore, score_checkpoint
    from mmnet_jax.evaluation.protocol_table import protocols_json, protocols_markdown, write_protocols
    from mmnet_jax.evaluation.report import report
    from mmnet_jax.workdir.folder import Workdir

    workdir = Workdir(FLAGS.workdir)
    config = workdir.load_config()
    if FLAGS.output:
        output_file("output", FLAGS.output)
    elif not can_be_made(workdir.results / "result.json"):
        raise UserError(f"{workdir.results} cannot be written; give another file for the result: --output=FILE.json.")
    if FLAGS.save_masks:
        new_folder("save_masks", FLAGS.save_masks)
    config = _with_changes(config, FLAGS.set)
    if FLAGS.data_dir:
        config.data.data_dir = FLAGS.data_dir
    dataset, transfer = _open(workdir, config)
    config = transfer.config if transfer else config
    manifests, refused = _manifests(config, dataset)
    first = manifests[0]  # the others have the same classes
    if transfer:
        transfer.check(first.class_ids)
    elif first.fold != config.fold:
        trained = f"the network was trained on the base classes of fold {config.fold}"
        _note(f"{trained}, which include the novel classes of fold {first.fold}")
    notes = transfer.notes() if transfer else ()
    network, scored = restore(workdir, FLAGS.checkpoint), []
    for manifest in manifests:
        output, masks = _outputs(manifest.protocol)
        given: dict[str, Any] = {"output": output, "masks": masks, "notes": notes, "say": Printer(error=True)}
        scored.append(score_checkpoint(network, config, dataset, manifest, **given))
    files = [file for result in scored for file in result.files]
    if FLAGS.protocol == ALL:
        table = protocols_json([result.summary for result in scored], refused)
        name = f"protocols_{first.dataset}_fold{first.fold}_{first.shots}shot_step{table['step']}.json"
        files = write_protocols(Path(FLAGS.output or workdir.results / name), table) + files
        print(protocols_markdown(table), end="")
    else:
        print(report(scored[0].summary))
    print("written: " + " ".join(map(str, files)))


def _with_changes(config: ConfigDict, changes: list[str]) -> ConfigDict:
    """The config with the fields of ``--set``; a ``UserError`` if one is malformed or not of ``evaluation``."""
    from mmnet_jax.cli.config_flag import override
    from mmnet_jax.config import resolve

    for change in changes:
        field, equals, text = change.partition("=")
        if not equals or not field.startswith("evaluation."):
            raise UserError(f"--set={change} must be evaluation.FIELD=VALUE, such as evaluation.batch_size=1.")
        override(config, field, text)
    return resolve(config)


def _outputs(protocol: str) -> tuple[Path | None, Path | None]:
    """The result's file and the folder of masks for one protocol, each None if its flag is absent."""
    output, masks = (Path(value) if value else None for value in (FLAGS.output, FLAGS.save_masks))
    if FLAGS.protocol == ALL:
        output = output and output.with_name(f"{output.name.removesuffix('.json')}_{protocol}.json")
        masks = masks and masks / protocol
    return output, masks


def _open(workdir: Workdir, config: ConfigDict) -> tuple[Dataset, Transfer | None]:
    """The test dataset, and its ``Transfer`` if it is not the training's."""
    from mmnet_jax.config.values import dataset_choice
    from mmnet_jax.data.dataset import open_dataset
    from mmnet_jax.evaluation.transfer import open_transfer

    if FLAGS.dataset not in (None, config.data.dataset):
        transfer = open_transfer(config, FLAGS.dataset, FLAGS.split)
        return transfer.dataset, transfer
    if FLAGS.split:
        raise UserError(f"--split={FLAGS.split} needs another --dataset; the training's dataset keeps its variant.")
    dataset = open_dataset(*dataset_choice(config))
    if workdir.data_sha256() not in (None, dataset.fingerprints()):
        _note("the dataset is not the one of the training; its base classes may differ")
    return dataset, None


def _manifests(config: ConfigDict, dataset: Dataset) -> tuple[list[Manifest], dict[str, str]]:
    """The episodes of each protocol that the flags name; and protocol -> reason for those without episodes."""
    from mmnet_jax.evaluation.manifest import configured_manifest
    from mmnet_jax.evaluation.protocols import PROTOCOLS

    given = {name: FLAGS[name].value for name in CHOICES}
    if FLAGS.manifest:
        if FLAGS.protocol == ALL:
            raise UserError(f"--protocol={ALL} contradicts --manifest={FLAGS.manifest}, which is of one protocol.")
        if FLAGS.restrict:
            raise UserError(f"--restrict contradicts --manifest={FLAGS.manifest}, whose episodes are already drawn.")
        return [_read_manifest(dataset, given)], {}
    manifests, refused = [], {}
    for name in PROTOCOLS if FLAGS.protocol == ALL else [FLAGS.protocol]:
        try:
            settings = given | {"protocol": name, "restrict": FLAGS.restrict}
            manifests.append(configured_manifest(dataset, config, **settings))
        except UserError as error:
            refused[name] = str(error)
    if not manifests:
        raise UserError(next(iter(refused.values())))
    return manifests, refused


def _read_manifest(dataset: Dataset, given: Mapping[str, Any]) -> Manifest:
    """The episodes of ``--manifest``; a ``UserError`` if another flag contradicts them."""
    from mmnet_jax.evaluation.manifest import read_manifest
    from mmnet_jax.evaluation.shipped import find_manifests

    manifest = read_manifest(*find_manifests(FLAGS.manifest), dataset=dataset)
    found = {name: getattr(manifest, name) for name in ("fold", "shots", "protocol")}
    found |= {"episodes": manifest.per_seed, "seed": ",".join(map(str, manifest.seeds))}
    for name, value in given.items():
        if value is not None and str(value) != str(found[name]):
            raise UserError(f"--{name}={value} contradicts --manifest={FLAGS.manifest}, whose {name} is {found[name]}.")
    return manifest


def _note(text: str) -> None:
    print(f"note: {text}.", file=sys.stderr)


if __name__ == "__main__":
    define_flags()
    run(main)
