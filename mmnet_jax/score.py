"""Scores masks from files: ``python -m mmnet_jax.score --manifest=FILE --predictions=DIR --data_dir=DATA --output=R``.

It loads neither jax nor a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.output import output_file
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Dataset
    from mmnet_jax.evaluation.manifest import Manifest

FLAGS = flags.FLAGS


def define_flags() -> None:
    manifest = "Segmented episodes: a manifest's file, the files of its seeds joined by commas, or a shipped name."
    flags.DEFINE_string("manifest", None, manifest, required=True)
    predictions = "Folder of masks 000000.png and so on (several seeds: seed510/000000.png and so on); nonzero pixels "
    predictions += "are foreground; size of the label, or 400 x 400 if the manifest's scoring says so."
    flags.DEFINE_string("predictions", None, predictions, required=True)
    flags.DEFINE_string("data_dir", None, "Folder of the prepared datasets, for the labels.")
    flags.DEFINE_string(
        "masks", None, "Instead of --data_dir: folder of labels, ID.png with class indices, 255: ignore."
    )
    flags.DEFINE_string("output", None, "The result's file.", required=True)
    flags.DEFINE_string("name", None, "Name of the result in comparisons. (default: its file's name)")


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.evaluation.html_report import html_report
    from mmnet_jax.evaluation.predictions import read_prediction, score_predictions
    from mmnet_jax.evaluation.report import report, report_file, result_files, result_json, write_result
    from mmnet_jax.evaluation.saved_masks import mask_names
    from mmnet_jax.evaluation.sheet import SAMPLES

    output = output_file("output", FLAGS.output)
    manifest, dataset = _episodes()
    say = Printer(error=True)
    folder, names = Path(FLAGS.predictions), mask_names(manifest.seeds, manifest.per_seed)
    result = score_predictions(manifest, dataset, folder, samples=SAMPLES, say=say)
    summary = result_json(result, dataset, _about(dataset))
    page = html_report(summary, result, dataset, lambda i: read_prediction(folder, names[i]) != 0)
    write_result(output, summary, result, dataset, page)
    print(report(summary))
    print("written: " + " ".join(map(str, [*result_files(output, manifest.seeds), report_file(output)])))


def _episodes() -> tuple[Manifest, Dataset]:
    """The episodes, and the dataset with their labels."""
    from mmnet_jax.data.dataset import find_spec, is_prepared, open_dataset
    from mmnet_jax.evaluation.label_files import open_labels
    from mmnet_jax.evaluation.manifest import read_manifest
    from mmnet_jax.evaluation.shipped import find_manifests

    if bool(FLAGS.data_dir) == bool(FLAGS.masks):
        raise UserError("give either --data_dir or --masks, for the labels.")
    manifest = read_manifest(*find_manifests(FLAGS.manifest))
    if FLAGS.masks:
        dataset = open_labels(manifest, Path(FLAGS.masks))
    else:
        spec = find_spec(manifest.dataset)
        variants = [manifest.choices.get(spec.variant_flag, spec.default_variant)]
        if spec.variant_field == "data.split":  # other lists of images, but the same masks
            variants += spec.variants
        variant = next((v for v in variants if is_prepared(spec.name, FLAGS.data_dir, v)), variants[0])
        dataset = open_dataset(spec.name, FLAGS.data_dir, variant, manifest.choices.get("folds"))
    return manifest.on(dataset), dataset


def _about(dataset: Dataset) -> dict[str, Any]:
    """The fields of the result about the data and the code; those about a network are null."""
    from mmnet_jax.evaluation.report import NETWORK, about_code

    data = None if FLAGS.masks else dataset.fingerprints()
    return {"name": FLAGS.name, **dict.fromkeys(NETWORK), "data_sha256": data, **about_code()}


if __name__ == "__main__":
    define_flags()
    run(main)
