"""Prepares a dataset for training and evaluation.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|folder]
python scripts/prepare_data.py creatures --data_dir=DATA [--seed=0]
"""

from __future__ import annotations

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.data import prepare
from mmnet_jax.data.dataset import GENERATED
from mmnet_jax.data.datasets.creatures.builder import config_name
from mmnet_jax.errors import UserError

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Folder of photographs and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above).",
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where the prepared dataset goes.")
_SPLIT = flags.DEFINE_enum("split", "protocol", ["protocol", "folder"], "The published id lists, or the folder's own.")
_SEED = flags.DEFINE_integer("seed", 0, "Of a generated dataset (creatures).", 0, 2**31 - 1)


def main(name: str | None) -> None:
    if name is None:
        raise UserError(f"the first argument is the dataset to prepare: {' or '.join(prepare.BUILDERS)}.")
    progress = prepare.ProgressLine(name)
    unused = flags.FLAGS["split" if name in GENERATED else "seed"]
    if unused.present:
        raise UserError(f"--{unused.name} means nothing to {name}.")
    variant = config_name(_SEED.value) if name in GENERATED else _SPLIT.value
    folder = prepare.prepare(name, _SOURCE.value, _DATA_DIR.value, variant, progress)
    done = "prepared" if progress.called else "already prepared (remove the folder to prepare it again)"
    print(f"{name} is {done}: {folder}")
    print(prepare.summary(name, _DATA_DIR.value, variant))


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
