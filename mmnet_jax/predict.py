"""Segments pictures by example: ``python -m mmnet_jax.predict --workdir=DIR --support=a.jpg --mask=a.png ...``.

Repeat ``--support``, each with its ``--mask`` or ``--support_box``, for more examples of the class, and ``--query`` for
more pictures or folders of them. The first of ``--mask`` and ``--support_box`` on the command line belongs to the first
``--support``, the second to the second, and so on.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from absl import flags

from mmnet_jax.cli.command import run

if TYPE_CHECKING:
    from mmnet_jax.inference.segmentation import Answer

FLAGS = flags.FLAGS

MOST_LINES = 30
"""Pictures that are told of one by one; the rest are in predictions.json."""


class _InOrder(flags.ArgumentParser):
    """Numbers what it reads, so that the values of several flags can be brought back into the order they came in."""

    numbers = itertools.count()

    def parse(self, argument: str) -> tuple[int, str]:
        return next(self.numbers), argument


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_multi_string("support", None, "Picture that shows the class.", required=True)
    parser: flags.ArgumentParser[Any] = _InOrder()
    serializer: flags.ArgumentSerializer[Any] = flags.ArgumentSerializer()
    flags.DEFINE_multi(
        parser,
        serializer,
        "mask",
        None,
        "Picture of where the class is in a --support: any pixel but 0. Each --support takes one --mask or one "
        "--support_box, in the order given.",
    )
    flags.DEFINE_multi(
        parser,
        serializer,
        "support_box",
        None,
        "x0,y0,x1,y1: the class fills this box of a --support, in pixels of the picture as it is seen; x to the right, "
        "y down, x1 and y1 the first outside.",
    )
    flags.DEFINE_multi_string("query", None, "Picture, or folder of pictures, to segment.", required=True)
    flags.DEFINE_string("output", None, "Folder for masks, overlays, sheet.png and predictions.json.", required=True)
    flags.DEFINE_bool("save_logits", False, "Write the logits too, as NAME.npy [S, S, 2]: background, foreground.")
    flags.DEFINE_integer("ignore", None, "Mask value of pixels of which nothing is known.", 1, 255)


def main() -> None:
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.inference.segmentation import find_queries, segment_pictures
    from mmnet_jax.inference.supports import parse_box, read_supports
    from mmnet_jax.workdir.folder import Workdir, load_step

    # Whatever can be wrong with the files is found before the network is loaded.
    config = Workdir(FLAGS.workdir).load_config()
    numbered: list[tuple[int, Any]] = list(FLAGS.mask or [])
    numbered += [(number, parse_box(text)) for number, text in FLAGS.support_box or []]
    places = [place for _, place in sorted(numbered, key=lambda pair: pair[0])]
    supports = read_supports(FLAGS.support, places, config, ignore=FLAGS.ignore)
    masks = [mask for _, mask in FLAGS.mask or []]
    queries = find_queries(FLAGS.query, FLAGS.output, keep=[*FLAGS.support, *masks])
    model, variables, config, step = load_step(FLAGS.workdir, FLAGS.checkpoint)
    answers = segment_pictures(
        model,
        variables,
        config,
        supports,
        queries,
        FLAGS.output,
        save_logits=FLAGS.save_logits,
        made_by={"workdir": FLAGS.workdir, "checkpoint": FLAGS.checkpoint, "step": step},
        say=Printer(error=True),
    )
    print(report(answers, FLAGS.output))


def report(answers: list[Answer], output: str) -> str:
    """What was found in each query, and where to look first."""
    from mmnet_jax.inference.segmentation import summary_files
    from mmnet_jax.inference.sheet import printable

    *sheets, numbers = summary_files(len(answers), output)
    lines = [
        f"{printable(answer.query)}: {answer.summary()}, {printable(answer.files[0])}"
        for answer in answers[:MOST_LINES]
    ]
    if len(answers) > MOST_LINES:
        lines.append(f"... and {len(answers) - MOST_LINES:,} more in {printable(numbers)}")
    further = f" (and on to {sheets[-1].name})" if len(sheets) > 1 else ""
    lines.append(
        f"segmented {len(answers):,} picture{'s' * (len(answers) > 1)}; look first at {printable(sheets[0])}{further}, "
        f"numbers are in {printable(numbers)}."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    run(main)
