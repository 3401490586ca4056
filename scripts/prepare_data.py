"""Prepares a dataset for training and evaluation.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|folder]
python scripts/prepare_data.py creatures --data_dir=DATA [--seed=0]
"""

from __future__ import annotations

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.progress import Printer
from mmnet_jax.data import prepare
from mmnet_jax.data.dataset import is_prepared, preparable
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Folder of images and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above).",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where the prepared dataset goes.")
_SPLIT = flags.DEFINE_string(
    "split", None, "Which images: protocol (the published id lists, if not given) or folder (the source folder's own)."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of a generated dataset (creatures).", 0, 2**31 - 1)


def main(name: str | None) -> None:
    if name is None:
        choices = " or ".join(known for known, spec in DATASETS.items() if spec.build)
        raise UserError(f"the first argument is the dataset to prepare: {choices}.")
    spec = preparable(name)
    unused = flags.FLAGS["split" if spec.generated else "seed"]
    if unused.present:
        raise UserError(f"--{unused.name} means nothing to {name}.")
    variant = spec.variant(_SPLIT.value, _SEED.value)
    there = is_prepared(name, _DATA_DIR.value, variant)
    folder = prepare.prepare(name, _SOURCE.value, _DATA_DIR.value, variant, Printer(error=True))
    done = "already prepared (remove the folder to prepare it again)" if there else "prepared"
    print(f"{name} is {done}: {folder}")
    print(prepare.summary(name, _DATA_DIR.value, variant))


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
