"""Segments pictures by example: ``python -m mmnet_jax.predict --workdir=DIR --support=a.jpg --mask=a.png ...``.

Repeat ``--support`` and ``--mask`` for more examples of the class, ``--query`` for more pictures or folders of them.
"""

from __future__ import annotations

import sys

from absl import flags

from mmnet_jax.command import run

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of a training.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_multi_string("support", None, "Picture that shows the class; one --mask each.", required=True)
    flags.DEFINE_multi_string("mask", None, "Where the class is in it: any pixel but 0.", required=True)
    flags.DEFINE_multi_string("query", None, "Picture, or folder of pictures, to segment.", required=True)
    flags.DEFINE_string("output", None, "Folder that the masks and overlays are written to.", required=True)
    flags.DEFINE_bool("save_logits", False, "Write the logits too, as NAME.npy [S, S, 2]: background, foreground.")
    flags.DEFINE_integer("ignore", None, "Mask value of pixels of which nothing is known.", 1, 255)


def main() -> None:
    from mmnet_jax.segmenting import find_queries, read_supports, segment_pictures
    from mmnet_jax.workdir import Workdir, load_step

    # Whatever can be wrong with the files is found before the network is loaded.
    config = Workdir(FLAGS.workdir).load_config()
    supports = read_supports(FLAGS.support, FLAGS.mask, config, ignore=FLAGS.ignore)
    queries = find_queries(FLAGS.query, FLAGS.output, keep=[*FLAGS.support, *FLAGS.mask])
    model, variables, config, _ = load_step(FLAGS.workdir, FLAGS.checkpoint)
    files = segment_pictures(
        model, variables, config, supports, queries, FLAGS.output, save_logits=FLAGS.save_logits, progress=show_progress
    )
    print(f"segmented {len(queries)} picture{'s' * (len(queries) > 1)}: {len(files)} files in {FLAGS.output}")


def show_progress(done: int, total: int) -> None:
    """One line that renews itself, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r{done} of {total} pictures", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    define_flags()
    run(main)
