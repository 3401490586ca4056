"""Prepares a dataset for training and evaluation.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|folder]
"""

from __future__ import annotations

from absl import flags

from mmnet_jax import command
from mmnet_jax.data import prepare
from mmnet_jax.errors import UserError

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Folder of photographs and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above).",
    required=True,
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Where the prepared dataset goes.")
_SPLIT = flags.DEFINE_enum("split", "protocol", ["protocol", "folder"], "The published id lists, or the folder's own.")


def main(name: str | None) -> None:
    if name is None:
        raise UserError(f"the first argument is the dataset to prepare: {' or '.join(prepare.BUILDERS)}.")
    progress = prepare.ProgressLine(name)
    folder = prepare.prepare(name, _SOURCE.value, _DATA_DIR.value, _SPLIT.value, progress)
    done = "prepared" if progress.called else "already prepared (remove the folder to prepare it again)"
    print(f"{name} is {done}: {folder}")
    print(prepare.summary(name, _DATA_DIR.value, _SPLIT.value))


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
