"""Compares results of the same episodes: ``python -m mmnet_jax.compare [NAME=]A.json [NAME=]B.json [...]``.

A row of the table is one result, or several with commas between them: its folds, or runs of which the mean is taken.
``A.json:confidence`` and ``A.json:untrained`` are the baselines of a result. Differences are from the first row, paired
by query image.
"""

from __future__ import annotations

import json

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.output import output_file
from mmnet_jax.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    output = "Write FILE.md, FILE.json and the figure FILE.png, whichever ending is given. (default: print only)"
    flags.DEFINE_string("output", None, output)


def main(words: list[str]) -> None:
    from mmnet_jax.drawing.images import png_bytes
    from mmnet_jax.evaluation.comparison_table import (
        comparison_figure,
        comparison_json,
        comparison_markdown,
        read_row,
    )
    from mmnet_jax.storage.files import write_whole

    if len(words) < 2:
        raise UserError("give the results of at least two rows, such as A.json B.json; the first is compared with.")
    output = output_file("output", FLAGS.output) if FLAGS.output else None
    content = comparison_json([read_row(word) for word in words])
    text = comparison_markdown(content)
    print(text, end="")
    if output is None:
        return
    if output.suffix in (".md", ".json", ".png"):
        output = output.with_suffix("")
    written = {
        "json": (json.dumps(content, indent=2, allow_nan=False) + "\n").encode(),
        "png": png_bytes(comparison_figure(content)),
        "md": text.encode(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    files = [output.with_name(f"{output.name}.{suffix}") for suffix in written]
    for file, data in zip(files, written.values(), strict=True):
        write_whole(file, data)
    print("written: " + " ".join(map(str, files)))


if __name__ == "__main__":
    define_flags()
    run(main, words=True)
