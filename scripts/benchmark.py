"""Measures speed on this machine, beside the PyTorch peer where --peer is given and PyTorch installed.

python scripts/benchmark.py [--backbone=resnet50_v2 --image_size=473 --shots=1 --batch_size=1 --repeats=5]
    [--reading=paper] [--peer=tests/reference/mmnet_torch.py] [--output=FILE.json]
"""

import datetime
import json
from pathlib import Path
from types import ModuleType

import jax
from absl import flags

from mmnet_jax import benchmark
from mmnet_jax.cli import command
from mmnet_jax.config import from_dict, resolve
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS
flags.DEFINE_string("backbone", "resnet50_v2", "As in config.model.backbone; its weights are random.")
flags.DEFINE_string("reading", "paper", "paper or released.")
flags.DEFINE_integer("image_size", 473, "S.")
flags.DEFINE_integer("shots", 1, "Support images an episode.")
flags.DEFINE_integer("batch_size", 1, "Episodes at a time.")
flags.DEFINE_integer("repeats", 5, "Runs of each task, after one that compiles.", lower_bound=1)
flags.DEFINE_string("peer", None, "File of the PyTorch peer, to be measured in turns with ours.")
flags.DEFINE_string("output", None, "JSON file for every run's seconds.")


def main() -> None:
    fields = {"reading": FLAGS.reading, "shots": FLAGS.shots, "data": {"image_size": FLAGS.image_size}}
    config = resolve(from_dict(fields | {"model": {"backbone": FLAGS.backbone, "batch_norm": "frozen"}}))
    tasks = benchmark.our_tasks(config, FLAGS.batch_size)
    if FLAGS.peer:
        tasks |= benchmark.peer_tasks(load(FLAGS.peer), config, FLAGS.batch_size)
    seconds = benchmark.measure(tasks, FLAGS.repeats, print)
    print(benchmark.table(seconds))
    if FLAGS.output:
        names = ("backbone", "reading", "image_size", "shots", "batch_size")
        record = {name: FLAGS[name].value for name in names}
        record |= {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
        record |= {"date": datetime.date.today().isoformat(), "seconds": seconds}
        Path(FLAGS.output).write_text(json.dumps(record, indent=2) + "\n")


def load(path: str) -> ModuleType:
    if not Path(path).is_file():
        raise UserError(f"--peer {path} is no Python file.")
    module = ModuleType("peer")
    exec(compile(Path(path).read_bytes(), path, "exec"), module.__dict__)
    return module


if __name__ == "__main__":
    command.run(main)
