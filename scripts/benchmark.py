"""Measures inference and training on this machine, and with --peer compares them with PyTorch.

python scripts/benchmark.py [--backbone=resnet50_v2,vgg16 --image_size=321,473 --task=episode,query,step --shots=1,5
    --batch_size=1,4,16 --step_batch_size=4 --repeats=10 --peer=tests/reference/mmnet_torch.py --output=FILE.json]
"""

import datetime
import itertools
import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from absl import flags

from mmnet_jax.cli import command
from mmnet_jax.cli.output import output_file
from mmnet_jax.config.fields import FIELDS, READINGS
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_list("backbone", ["resnet50_v2"], "Backbones, as in config.model.backbone, with random weights.")
    flags.DEFINE_list("image_size", ["473"], "Image sizes, pixels.")
    flags.DEFINE_list("task", ["episode", "query", "step"], "Tasks; episode and query are inference.")
    flags.DEFINE_list("shots", ["1"], "Numbers of support images.")
    flags.DEFINE_list("batch_size", ["1"], "Numbers of episodes in an inference batch.")
    flags.DEFINE_list("step_batch_size", ["4"], "Numbers of episodes in a training step.")
    flags.DEFINE_enum("reading", "paper", READINGS, "Reading, as in config.reading.")
    flags.DEFINE_enum("dtype", "auto", FIELDS["model.dtype"].choices, "Type of products, as in config.model.dtype.")
    flags.DEFINE_integer("repeats", 10, "Timed runs of each task, in turns, after an untimed run.", lower_bound=1)
    flags.DEFINE_string("peer", None, "Python file of the PyTorch network to measure in turns with ours.")
    flags.DEFINE_string("output", None, "JSON file, rewritten after each group; a .md and a .png go beside it.")


def main() -> None:
    if FLAGS.peer and not Path(FLAGS.peer).is_file():
        raise UserError(f"--peer {FLAGS.peer} is not a file; give the Python file of the PyTorch network.")
    output = output_file("output", FLAGS.output) if FLAGS.output else None
    # Compilation is timed, so nothing is read from a cache; two frameworks share a GPU, so neither reserves its memory.
    os.environ |= {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    import jax

    from mmnet_jax.benchmark.peer import RESNETS, PeerCell, precisions
    from mmnet_jax.benchmark.report import OURS, PEER, figure, label, markdown
    from mmnet_jax.benchmark.tasks import MatrixProduct
    from mmnet_jax.benchmark.turns import measure
    from mmnet_jax.drawing.images import png_bytes
    from mmnet_jax.input_benchmark import processor
    from mmnet_jax.storage.files import write_atomically

    groups = list(cells())
    (matrix,) = measure([MatrixProduct(FLAGS.dtype).open], 5)
    peers = precisions(matrix.get("device", "cpu")) if FLAGS.peer else ()
    matrix |= {"device": processor()} if matrix.get("device") == "cpu" else {}
    measured: list[dict[str, Any]] = []
    date = datetime.date.today().isoformat()
    record = {"date": date, "jax": jax.__version__, "matrix": matrix, "cells": measured}
    for number, group in enumerate(groups):
        print(f"[{number + 1}/{len(groups)}] {group[0].backbone}, {group[0].image_size} px", flush=True)
        comparable = [cell for cell in group if cell.task != "query" and cell.backbone in RESNETS]
        theirs = [PeerCell(cell, FLAGS.peer, precision) for cell in comparable for precision in peers]
        by = [(OURS, cell) for cell in group] + [(PEER, peer.cell) for peer in theirs]
        records = measure([cell.open for cell in (*group, *theirs)], FLAGS.repeats)
        for (who, cell), facts in zip(by, records, strict=True):
            measured.append({"by": who} | asdict(cell) | facts)
            result = facts.get("error") or f"{1e3 * statistics.median(facts['seconds']):.1f} ms"
            print(f"  {label(measured[-1])}: {result}", flush=True)
        if output:
            write_atomically(output, (json.dumps(record, indent=1) + "\n").encode())
            write_atomically(output.with_suffix(".md"), markdown(measured, matrix).encode())
            if any("error" not in cell for cell in measured):
                write_atomically(output.with_suffix(".png"), png_bytes(figure(measured)))
    print(markdown(measured, matrix), end="")


def cells() -> Iterator[list[Any]]:
    """Groups of cells to measure in turns: inference with supports encoded each time and once, or a training step."""
    from mmnet_jax.benchmark.tasks import TASKS, Cell

    sizes, shots, batches, step_batches = map(numbers, ("image_size", "shots", "batch_size", "step_batch_size"))
    if unknown := set(FLAGS.task) - set(TASKS):
        raise UserError(f"--task must list some of {', '.join(TASKS)}, but has {min(unknown)!r}.")
    inference = [task for task in FLAGS.task if task != "step"]
    groups = [[(task, batch) for task in inference] for batch in batches if inference]
    groups += [[("step", batch)] for batch in step_batches if "step" in FLAGS.task]
    for backbone, size, k, group in itertools.product(FLAGS.backbone, sizes, shots, groups):
        made = [Cell(backbone, size, task, k, batch, FLAGS.reading, FLAGS.dtype) for task, batch in group]
        made[0].config()  # reports mistakes before anything is measured
        yield made


def numbers(flag: str) -> list[int]:
    words = FLAGS[flag].value
    if not words or not all(word.isdecimal() and int(word) for word in words):
        raise UserError(f"--{flag} must be positive integers, separated by commas, but is {','.join(words)}.")
    return list(map(int, words))


if __name__ == "__main__":
    define_flags()
    command.run(main)
