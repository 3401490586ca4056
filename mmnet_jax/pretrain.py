"""Pretrains a backbone: ``python -m mmnet_jax.pretrain --config=configs/pretrain_imagenet.py --workdir=DIR``."""

import shlex
import sys

from absl import flags

from mmnet_jax.cli.command import INTERRUPTED, run
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.cli.config_flag import define_config_flag
from mmnet_jax.cli.progress import Printer

FLAGS = flags.FLAGS
_say = Printer()


def define_flags() -> None:
    define_config_flag()
    define_cache_flag()
    flags.DEFINE_string("workdir", None, "Folder of this pretraining; one that holds a checkpoint is resumed.")


def main() -> None:
    from mmnet_jax.errors import UserError

    if FLAGS.config is None:
        raise UserError("--config is missing: give a file of configs/, as in --config=configs/pretrain_imagenet.py.")
    if not FLAGS.workdir:
        raise UserError("--workdir is missing: give the folder to pretrain in.")
    from mmnet_jax.cli.signals import Stopped
    from mmnet_jax.config import resolve
    from mmnet_jax.config.values import dataset_choice
    from mmnet_jax.data.prepare import ensure_dataset
    from mmnet_jax.pretraining.loop import check_images, pretrain
    from mmnet_jax.workdir.folder import Workdir

    config = resolve(FLAGS.config)
    if config.model.weights:
        raise UserError(f"model.weights names {config.model.weights}; unset it to pretrain a backbone.")
    if config.pretraining.dataset == "none":
        raise UserError("pretraining.dataset is none: set it to crops or imagenet2012.")
    workdir = Workdir(FLAGS.workdir)
    try:
        with workdir.lock():
            resumed = workdir.resumes(config)
            if config.pretraining.dataset == "crops":
                ensure_dataset(*dataset_choice(config)[:3], _say)
            check_images(config)  # before any folder is made
            if not resumed:
                workdir.create(config)
            pretrain(config, workdir, _say)
    except Stopped as stopped:
        _say(f"{stopped}\nto resume: python -m mmnet_jax.pretrain {shlex.join(sys.argv[1:])}")
        sys.exit(INTERRUPTED)
    file = shlex.quote(str(workdir.backbone_file))
    _say(
        f"pretrained: {config.model.backbone} is in {file}\n"
        f"to use it: --config.model.backbone={config.model.backbone} --config.model.weights={file}"
    )


if __name__ == "__main__":
    define_flags()
    run(main)
