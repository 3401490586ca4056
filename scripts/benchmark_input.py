"""Measures a training's input: decoding compared with plain Pillow, steps on new batches with steps on one batch.

python scripts/benchmark_input.py --config=configs/NAME.py --config.data.data_dir=DATA --config.model.weights=FILE
    [--config.data.resident=True --steps=20 --repeats=5 --output=FILE.json]
"""

import datetime
import json
import tempfile
from pathlib import Path

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.cli.config_flag import define_config_flag
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 128, "Images decoded in each run.", lower_bound=8)
flags.DEFINE_integer("steps", 20, "Training steps in each run.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Runs of each task.", lower_bound=1)
flags.DEFINE_string("output", None, "JSON file for the times of all runs.")


def main() -> None:
    if FLAGS.config is None:
        raise UserError("--config is missing: give a file of configs/, as in --config=configs/pascal_1shot.py.")
    import jax

    from mmnet_jax import input_benchmark as benchmark
    from mmnet_jax.config import resolve
    from mmnet_jax.config.values import dataset_choice
    from mmnet_jax.data.dataset import open_dataset
    from mmnet_jax.training.head import open_training
    from mmnet_jax.workdir.folder import Workdir

    config = resolve(FLAGS.config)
    dataset = open_dataset(*dataset_choice(config))
    decoding = benchmark.measure_decoding(dataset.train, FLAGS.images, FLAGS.repeats)
    print(benchmark.table(decoding, "processor ms an image", benchmark.IMAGE_AND_MASK) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        workdir.create(config, dataset.fingerprints())
        steps = benchmark.measure_steps(open_training(config, workdir, dataset, print), FLAGS.steps, FLAGS.repeats)
    print(benchmark.table(steps, "ms a step", benchmark.ONE_BATCH))
    if FLAGS.output:
        record = {"backbone": config.model.backbone, "image_size": config.data.image_size, "shots": config.shots}
        record |= {"cache_features": config.training.cache_features, "resident": config.data.resident}
        record |= {"device": jax.devices()[0].device_kind, "processor": benchmark.processor(), "jax": jax.__version__}
        record |= {"date": datetime.date.today().isoformat(), "decoding_ms": decoding, "step_ms": steps}
        Path(FLAGS.output).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    define_config_flag()
    define_cache_flag()
    command.run(main)
