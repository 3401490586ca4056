"""Prepares a dataset for training and evaluation.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|folder]
python scripts/prepare_data.py coco20i --source=COCO --data_dir=DATA [--coco_masks=all|published]
python scripts/prepare_data.py creatures --data_dir=DATA [--seed=0]
"""

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.progress import Printer
from mmnet_jax.data import prepare
from mmnet_jax.data.dataset import is_prepared, preparable
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.spec import listed
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "source",
    None,
    "Folder of images and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above; coco20i: the folder that "
    "holds annotations, and train2014 and val2014 or train2017 and val2017).",
)
flags.DEFINE_string("data_dir", "data", "Where the prepared dataset goes.")
flags.DEFINE_string(
    "split", None, "Which images: protocol (the published id lists, if not given) or folder (the source folder's own)."
)
flags.DEFINE_string(
    "coco_masks", None, "Masks of coco20i: all that is annotated (if not given), or published, as published numbers."
)
flags.DEFINE_integer("seed", 0, "Seed of a generated dataset (creatures).", 0, 2**31 - 1)


def main(name: str | None) -> None:
    if name is None:
        raise UserError(f"the first argument is the dataset to prepare: {listed(DATASETS, 'or')}.")
    spec = preparable(name)
    for flag in {other.variant_flag for other in DATASETS.values()} - {spec.variant_flag}:
        if FLAGS[flag].present:
            raise UserError(f"--{flag} means nothing to {name}.")
    choice = name, FLAGS.data_dir, spec.variant(FLAGS[spec.variant_flag].value)
    there = is_prepared(*choice)
    folder = prepare.prepare(name, FLAGS.source, *choice[1:], Printer(error=True))
    done = "already prepared (remove the folder to prepare it again)" if there else "prepared"
    print(f"{name} is {done}: {folder}\n{prepare.summary(*choice)}")


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
