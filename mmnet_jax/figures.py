"""Draws a network's maps on your images: ``python -m mmnet_jax.figures activations --workdir=DIR --support=...``.

``activations``: the memory's activations of supports and queries; repeat ``--workdir`` to compare networks.
``propagation``: from the support mask to the predicted one, with the confidence map, activations before and after
propagation, and the weights of single query positions. ``shots``: the weight of each support at each query position.
"""

from pathlib import Path

from absl import flags

from mmnet_jax.cli.command import run
from mmnet_jax.cli.compilation import define_cache_flag
from mmnet_jax.cli.output import output_file
from mmnet_jax.errors import UserError, listed

FLAGS = flags.FLAGS
NAMES = ("activations", "propagation", "shots")


def define_flags() -> None:
    flags.DEFINE_multi_string("workdir", None, "Folder of a training; activations takes several.", required=True)
    flags.DEFINE_string("checkpoint", "best", "best, latest or a step.")
    flags.DEFINE_multi_string("support", None, "Image that shows the class; repeat it for more shots.", required=True)
    flags.DEFINE_multi_string("mask", None, "Mask of each --support, in the same order.", required=True)
    flags.DEFINE_multi_string("query", None, "Image to segment; repeat it for more rows.", required=True)
    flags.DEFINE_string("output", None, "The figure's file, NAME.png.", required=True)
    define_cache_flag()


def main(arguments: list[str]) -> None:
    name = _check(arguments)
    from mmnet_jax.cli.progress import Printer
    from mmnet_jax.config import has_memory
    from mmnet_jax.data.images import read_image
    from mmnet_jax.drawing.images import png_bytes
    from mmnet_jax.inference.figures import FIGURES, draw_figure
    from mmnet_jax.inference.segmenter import Segmenter
    from mmnet_jax.inference.supports import read_supports
    from mmnet_jax.storage.files import write_atomically
    from mmnet_jax.workdir.folder import Workdir, load_step

    configs = {workdir: Workdir(workdir).load_config() for workdir in FLAGS.workdir}
    for workdir, config in configs.items():
        if not has_memory(config):
            raise UserError(f"{workdir} holds a network without memory; the figures need an MM-Net with memory.")
        if name == "propagation" and config.model.propagation != "apm":
            raise UserError(f"{workdir} holds a network without APM (model.propagation); draw another figure.")
    queries = [Path(query) for query in FLAGS.query]
    for query in queries:  # check all files before loading a network
        read_image(query)
    supports = [read_supports(FLAGS.support, FLAGS.mask, config) for config in configs.values()]
    say, parts = Printer(error=True), {}
    for (workdir, config), examples in zip(configs.items(), supports, strict=True):
        model, variables, _, step = load_step(workdir, FLAGS.checkpoint)
        title = f"{name}: {workdir}, step {step}, levels {config.model.levels}, reading {config.reading}"
        parts[title] = list(FIGURES[name](Segmenter(model, variables, config, examples), queries))
        say(f"drawn: {workdir}")
    write_atomically(Path(FLAGS.output), png_bytes(draw_figure(parts)))
    print(f"written: {FLAGS.output}")


def _check(arguments: list[str]) -> str:
    """The figure's name; raises ``UserError`` if it is missing or unknown, or if a flag does not fit it."""
    if len(arguments) != 1 or arguments[0] not in NAMES:
        raise UserError(f"give one figure: {listed(NAMES, 'or')}, as in python -m mmnet_jax.figures {NAMES[0]} ...")
    name = arguments[0]
    if name != "activations" and len(FLAGS.workdir) > 1:
        raise UserError(f"{name} shows one network; give a single --workdir.")
    if name == "shots" and len(FLAGS.support) < 2:
        raise UserError("shots compares supports; give at least two --support, each with a --mask.")
    output = output_file("output", FLAGS.output)
    if output.suffix.lower() != ".png":
        raise UserError(f"--output={output} is not a PNG; give a name that ends in .png.")
    if output.resolve() in {Path(file).resolve() for file in (*FLAGS.support, *FLAGS.mask, *FLAGS.query)}:
        raise UserError(f"{output} would be overwritten by the figure; choose another --output.")
    return name


if __name__ == "__main__":
    define_flags()
    run(main, positional=True)
