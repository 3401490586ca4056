"""Prepares a dataset for training and evaluation, or verifies what is prepared.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|trainaug|folder]
python scripts/prepare_data.py coco20i --source=COCO --data_dir=DATA [--coco_masks=all|published]
python scripts/prepare_data.py fss1000 --source=fewshot_data --data_dir=DATA [--split=protocol|folder]
python scripts/prepare_data.py custom --source=FOLDER --data_dir=DATA [--folds=N]
python scripts/prepare_data.py creatures --data_dir=DATA [--seed=0]
    Worker processes share the work (--workers=N). If interrupted or killed, rerun the same command: it keeps what is
    finished, and the result is the same. --on_error=skip leaves out images that cannot be used, and names them.
python scripts/prepare_data.py check --data_dir=DATA
    Verifies the files of every prepared dataset by their checksums, and every record by the index.
"""

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.progress import Printer

# All else is imported in main: worker processes import this module too, and need none of it.

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "source",
    None,
    "Folder of images and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above; coco20i: the folder that "
    "holds annotations, and train2014 and val2014 or train2017 and val2017; fss1000: fewshot_data; "
    "custom: images/, masks/ and classes.txt, or one folder a class).",
)
flags.DEFINE_string("data_dir", "data", "Where the prepared dataset goes.")
flags.DEFINE_string(
    "split",
    None,
    "Which images of pascal5i: protocol (5,953 to train and 1,449 to test, if not given), trainaug (10,582 to train) "
    "or folder (the source folder's own lists); which classes of fss1000: protocol (520 to train, 240 to select, 240 "
    "to test) or folder.",
)
flags.DEFINE_string(
    "coco_masks", None, "Masks of coco20i: all that is annotated (if not given), or published, as published numbers."
)
flags.DEFINE_integer("seed", 0, "Seed of a generated dataset (creatures).", 0, 2**31 - 1)
flags.DEFINE_integer(
    "folds",
    None,
    "Folds of custom, equal parts of its classes; if not given, as in folds.txt, or 4 at most.",
    2,
    1024,
)
flags.DEFINE_integer("workers", None, "Worker processes; if not given, one for each core, 8 at most.", 1, 1024)
flags.DEFINE_enum(
    "on_error", "stop", ["stop", "skip"], "An image or mask that cannot be used ends the preparation, or is left out."
)
CHECK, PREPARING = "check", ("source", "workers", "on_error", "folds")


def main(name: str | None) -> None:
    from mmnet_jax.data.check import check
    from mmnet_jax.data.dataset import find_spec, is_prepared
    from mmnet_jax.data.datasets import DATASETS
    from mmnet_jax.data.prepare import prepare, summary
    from mmnet_jax.errors import UserError, listed

    if name is None:
        raise UserError(f"the first argument is the dataset to prepare ({listed(DATASETS, 'or')}) or {CHECK}.")
    spec = None if name == CHECK else find_spec(name)
    unused = {other.variant_flag for other in DATASETS.values()} - {spec and spec.variant_flag}
    if spec is None:
        unused |= set(PREPARING)
    elif spec.folds:
        unused.add("folds")
    for flag in sorted(unused):
        if FLAGS[flag].present:
            raise UserError(f"--{flag} means nothing to {name}.")
    if spec is None:
        check(FLAGS.data_dir, Printer(), Printer(error=True))
        return
    choice = name, FLAGS.data_dir, spec.variant(FLAGS[spec.variant_flag].value)
    there = is_prepared(*choice)
    how = {"workers": FLAGS.workers, "on_error": FLAGS.on_error, "folds": FLAGS.folds}
    folder = prepare(name, FLAGS.source, *choice[1:], Printer(error=True), **how)
    done = "already prepared (remove the folder to prepare it again)" if there else "prepared"
    print(f"{name} is {done}: {folder}\n{summary(*choice)}")


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
