"""Draws test episodes into a file: ``python -m mmnet_jax.manifest --dataset=pascal5i --fold=0 --output=FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.output import output_file
from mmnet_jax.errors import UserError

if TYPE_CHECKING:
    from mmnet_jax.data.dataset import Dataset

FLAGS = flags.FLAGS
VARIANTS = ("split", "coco_masks")  # the flags of prepare_data.py that choose the variant


def define_flags() -> None:
    flags.DEFINE_string("dataset", None, "Dataset of the test images.", required=True)
    flags.DEFINE_integer("fold", 0, "Fold of the novel classes.", lower_bound=0)
    flags.DEFINE_integer("shots", 1, "Support images of an episode.", lower_bound=1)
    flags.DEFINE_string("protocol", None, "Episode-sampling protocol. (default: the dataset's)")
    flags.DEFINE_integer("episodes", None, "Episodes of each seed. (default: the protocol's)", lower_bound=1)
    flags.DEFINE_integer("seed", None, "Episode seed. (default: the protocol's seeds, or 321)", 0, 2**31 - 1)
    flags.DEFINE_string("data_dir", None, "Folder of the prepared datasets. (default: the package's lists, no images)")
    flags.DEFINE_string("split", None, "Lists of images: protocol, trainaug or folder, as in prepare_data.py.")
    flags.DEFINE_string("coco_masks", None, "Masks of coco20i: all or published, as in prepare_data.py.")
    folds = "Classes of the folds: contiguous, or coco20i_interleaved for classes unseen in a training on COCO-20i."
    flags.DEFINE_string("folds", None, folds)
    flags.DEFINE_boolean("restrict", False, "Leave missing images out of HSNet's lists.")
    output = "NAME.json or NAME.json.gz; several seeds: NAME_seedN.json for each."
    flags.DEFINE_string("output", None, output, required=True)


def main() -> None:
    from mmnet_jax.config import FIELDS
    from mmnet_jax.evaluation.manifest import draw_manifest, write_manifest
    from mmnet_jax.evaluation.protocols import find_protocol

    output = output_file("output", FLAGS.output)
    if not output.name.endswith((".json", ".json.gz")):
        raise UserError(f"--output={FLAGS.output} must end in .json or .json.gz.")
    dataset = _dataset()
    protocol = find_protocol(FLAGS.protocol or dataset.spec.protocol, dataset.spec, dataset.folds)
    manifest = draw_manifest(
        dataset,
        fold=FLAGS.fold,
        shots=FLAGS.shots,
        protocol=protocol.name,
        seeds=protocol.seeds_or(FIELDS["seed"].default) if FLAGS.seed is None else (FLAGS.seed,),
        min_pixels=dataset.spec.min_pixels,
        episodes=FLAGS.episodes,
        restrict=FLAGS.restrict,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    for file, sha256 in zip(write_manifest(output, manifest), manifest.sha256(), strict=True):
        print(f"{file}: {manifest.label}, {manifest.per_seed:,} episodes, sha256 {sha256}")


def _dataset() -> Dataset:
    """The dataset that the flags name: as prepared, or its test images by the package's lists."""
    from mmnet_jax.data.dataset import find_spec, listed_dataset, open_dataset

    spec = find_spec(FLAGS.dataset)
    own = [] if spec.generated else [spec.variant_flag]
    for name in VARIANTS:
        if FLAGS[name].value is not None and name not in own:
            raise UserError(f"--{name} does not apply to {spec.name}.")
    variant = spec.variant(FLAGS[own[0]].value if own else None)
    if FLAGS.data_dir is None:
        return listed_dataset(spec.name, variant, FLAGS.folds)
    return open_dataset(spec.name, FLAGS.data_dir, variant, FLAGS.folds)


if __name__ == "__main__":
    define_flags()
    run(main)
