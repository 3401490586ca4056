"""Prepares a dataset for training and evaluation, or verifies prepared datasets.

python scripts/prepare_data.py pascal5i --source=VOCdevkit --data_dir=DATA [--split=protocol|trainaug|folder]
python scripts/prepare_data.py coco20i --source=COCO --data_dir=DATA [--coco_masks=all|published]
python scripts/prepare_data.py fss1000 --source=fewshot_data --data_dir=DATA [--split=protocol|folder]
python scripts/prepare_data.py custom --source=FOLDER --data_dir=DATA [--folds=N]
python scripts/prepare_data.py creatures --data_dir=DATA [--seed=0]
    If interrupted or killed, rerun the same command: it keeps the finished files, and the result is the same.
python scripts/prepare_data.py check --data_dir=DATA
    Verifies the files of every prepared dataset by their checksums, and every record by the index.
"""

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.progress import Printer

# Other modules are imported in main, since worker processes import this module too.

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "source",
    None,
    "Folder of images and masks (pascal5i: VOCdevkit, VOC2012 in it, or the folder above; coco20i: the folder of "
    "annotations and of train2014 and val2014, or train2017 and val2017; fss1000: fewshot_data; "
    "custom: a folder with images/, masks/ and classes.txt, or with one folder a class).",
)
flags.DEFINE_string("data_dir", "data", "Folder of prepared datasets.")
flags.DEFINE_string(
    "split",
    None,
    "Lists of pascal5i: protocol (default; 5,953 training and 1,449 test images), trainaug (10,582 training images) or "
    "folder (the source folder's own); of fss1000: protocol (default; 520 base, 240 val and 240 novel classes) or "
    "folder.",
)
flags.DEFINE_string(
    "coco_masks", None, "Masks of coco20i: all (default; every annotation) or published (behind published numbers)."
)
flags.DEFINE_integer("seed", 0, "Seed of a generated dataset (creatures).", 0, 2**31 - 1)
flags.DEFINE_integer(
    "folds", None, "Number of equal parts of custom's classes; default: folds.txt, or 4 at most.", 2, 1024
)
flags.DEFINE_integer("workers", None, "Worker processes; default: one a core, 8 at most.", 1, 1024)
flags.DEFINE_enum("on_error", "stop", ["stop", "skip"], "Stop at an unusable image or mask, or leave it out.")
CHECK = "check"


def main(name: str | None) -> None:
    from mmnet_jax.data.check import check
    from mmnet_jax.data.dataset import find_spec, is_prepared
    from mmnet_jax.data.datasets import DATASETS
    from mmnet_jax.data.prepare import prepare, summary
    from mmnet_jax.errors import UserError, listed

    if name is None:
        raise UserError(f"give the dataset to prepare first ({listed(DATASETS, 'or')}), or {CHECK}.")
    spec = None if name == CHECK else find_spec(name)
    variant_flags = {other.variant_flag for other in DATASETS.values()}
    used = {"source", "workers", "on_error", spec.variant_flag, *([] if spec.folds else ["folds"])} if spec else set()
    for flag in sorted({"source", "workers", "on_error", "folds", *variant_flags} - used):
        if FLAGS[flag].present:
            raise UserError(f"--{flag} does not apply to {name}.")
    if spec is None:
        check(FLAGS.data_dir, Printer(), Printer(error=True))
        return
    choice = name, FLAGS.data_dir, spec.variant(FLAGS[spec.variant_flag].value)
    existed = is_prepared(*choice)
    how = {"workers": FLAGS.workers, "on_error": FLAGS.on_error, "folds": FLAGS.folds}
    folder = prepare(name, FLAGS.source, *choice[1:], Printer(error=True), **how)
    done = "already prepared (remove the folder to prepare it again)" if existed else "prepared"
    print(f"{name} is {done}: {folder}\n{summary(*choice)}")


if __name__ == "__main__":
    word = command.take_subcommand()
    command.run(lambda: main(word))
