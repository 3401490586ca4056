"""Compares results on the same episodes: ``python -m mmnet_jax.compare [NAME=]A.json [NAME=]B.json [...]``.

A row of the table is one result, or several joined by commas: folds, or runs to average over, such as training seeds.
``A.json:confidence`` and ``A.json:untrained`` are the baselines of a result. Differences are from the first row, paired
by query image.
"""

from __future__ import annotations

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.output import output_file
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    output = (
        "Write FILE.md, FILE.json and the figure FILE.png; FILE may have any of these endings. (default: print only)"
    )
    flags.DEFINE_string("output", None, output)


def main(arguments: list[str]) -> None:
    from mmnet_jax.drawing.images import png_bytes
    from mmnet_jax.evaluation.comparison_table import (
        comparison_figure,
        comparison_json,
        comparison_markdown,
        read_row,
    )
    from mmnet_jax.storage.files import write_atomically, write_json

    if len(arguments) < 2:
        raise UserError("give the results of at least two rows, such as A.json B.json; differences are from the first.")
    output = output_file("output", FLAGS.output) if FLAGS.output else None
    content = comparison_json([read_row(argument) for argument in arguments])
    text = comparison_markdown(content)
    print(text, end="")
    if output is None:
        return
    if output.suffix in (".md", ".json", ".png"):
        output = output.with_suffix("")
    output.parent.mkdir(parents=True, exist_ok=True)
    files = [output.with_name(f"{output.name}.{suffix}") for suffix in ("json", "png", "md")]
    write_json(files[0], content)
    write_atomically(files[1], png_bytes(comparison_figure(content)))
    write_atomically(files[2], text.encode())
    print("written: " + " ".join(map(str, files)))


if __name__ == "__main__":
    define_flags()
    run(main, positional=True)
