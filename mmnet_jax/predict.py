"""Segments images by example: ``python -m mmnet_jax.predict --workdir=DIR --support=a.jpg --mask=a.png ...``.

Repeat ``--support``, each with its ``--mask`` or ``--support_box``, for more examples of the class, and ``--query`` for
more images or folders of them. The first of ``--mask`` and ``--support_box`` on the command line belongs to the first
``--support``, the second to the second, and so on.
"""

import itertools
from pathlib import Path
from typing import Any

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.compilation import define_cache_flag

FLAGS = flags.FLAGS
MAX_LINES = 30
"""Most queries that are reported one by one."""


class _InOrder(flags.ArgumentParser):
    """Numbers the values it parses, to restore the order of the values of two flags."""

    numbers = itertools.count()

    def parse(self, argument: str) -> tuple[int, str]:
        return next(self.numbers), argument


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_multi_string("support", None, "Picture that shows the class; repeat it for more shots.", required=True)
    in_order: tuple[Any, Any] = _InOrder(), flags.ArgumentSerializer()
    mask = "Mask of a --support: every pixel that is not black, at least half white if its edges are smooth, or the "
    mask += "alpha channel. Each --support takes one --mask or one --support_box, in the order given."
    flags.DEFINE_multi(*in_order, "mask", None, mask)
    box = "x0,y0,x1,y1: bounding box of the class in a --support, in pixels of the upright picture from its top left; "
    flags.DEFINE_multi(*in_order, "support_box", None, box + "x1 and y1 are the first outside.")
    flags.DEFINE_multi_string("query", None, "Picture, or folder of pictures, to segment.", required=True)
    flags.DEFINE_string("output", None, "Folder for masks, overlays, sheet.png and predictions.json.", required=True)
    flags.DEFINE_bool("save_logits", False, "Also write the logits, as NAME.npy [S, S, 2]: background, foreground.")
    flags.DEFINE_integer("ignore", None, "Mask value of pixels to ignore; masks then hold class indices.", 1, 255)
    define_cache_flag()


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.errors import printable
    from mmnet_jax.inference.segmentation import find_queries, segment_images, summary_files
    from mmnet_jax.inference.supports import parse_box, read_supports
    from mmnet_jax.workdir.folder import Workdir, load_step

    say = Printer(error=True)

    def warn(line: str) -> None:
        say(printable(line))

    # check all files before loading the network
    config = Workdir(FLAGS.workdir).load_config()
    masks = list(FLAGS.mask or [])
    boxes = [(number, parse_box(text)) for number, text in FLAGS.support_box or []]
    annotations = [annotation for _, annotation in sorted([*masks, *boxes], key=lambda pair: pair[0])]
    supports = read_supports(FLAGS.support, annotations, config, ignore=FLAGS.ignore)
    for note in (note for example in supports.examples for note in example.notes):
        warn(note)
    queries = find_queries(FLAGS.query, FLAGS.output, [*FLAGS.support, *(mask for _, mask in masks)], warn)
    model, variables, config, step = load_step(FLAGS.workdir, FLAGS.checkpoint)
    results = segment_images(
        *(model, variables, config, supports, queries, Path(FLAGS.output)),
        save_logits=FLAGS.save_logits,
        made_by={"workdir": FLAGS.workdir, "checkpoint": FLAGS.checkpoint, "step": step},
        say=say,
    )
    *sheets, numbers = summary_files(len(results), FLAGS.output)
    lines = [f"{result.query}: {result.summary()}, {result.files[0]}" for result in results[:MAX_LINES]]
    if len(results) > MAX_LINES:
        lines.append(f"... and {len(results) - MAX_LINES:,} more in {numbers}")
    further = f" (to {sheets[-1].name})" if len(sheets) > 1 else ""
    found = f"segmented {len(results):,} picture{'s' * (len(results) > 1)}; look first at {sheets[0]}{further}"
    print(*map(printable, [*lines, f"{found}, numbers are in {numbers}."]), sep="\n")


if __name__ == "__main__":
    define_flags()
    run(main)
