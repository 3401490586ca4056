"""ResNet-50's tensors as other people name them, written out without any framework."""

from __future__ import annotations

import numpy as np

PLAIN = {"torchvision": [("conv1", "bn1")], "PFENet": [("layer0.0", "layer0.1")]}
DEEP = {
    "PFENet": [("layer0.0", "layer0.1"), ("layer0.3", "layer0.4"), ("layer0.6", "layer0.7")],
    "ImageNet file": [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")],
    "timm": [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")],
}


def resnet50_tensors(stem: list[tuple[str, str]], depths=(3, 4, 6, 3)) -> dict[str, np.ndarray]:
    """Every tensor filled with a number of its own, so that mistaking one for another shows."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(convolution: str, normalisation: str, inputs: int, outputs: int, side: int) -> None:
        shapes[f"{convolution}.weight"] = (outputs, inputs, side, side)
        for buffer in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{normalisation}.{buffer}"] = (outputs,)
        shapes[f"{normalisation}.num_batches_tracked"] = ()

    widths = [(3, 64)] if len(stem) == 1 else [(3, 64), (64, 64), (64, 128)]
    for (convolution, normalisation), (inputs, outputs) in zip(stem, widths, strict=True):
        layer(convolution, normalisation, inputs, outputs, 7 if len(stem) == 1 else 3)
    inputs = widths[-1][1]
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
        for i in range(depth):
            block = f"layer{stage}.{i}"
            layer(f"{block}.conv1", f"{block}.bn1", inputs, width, 1)
            layer(f"{block}.conv2", f"{block}.bn2", width, width, 3)
            layer(f"{block}.conv3", f"{block}.bn3", width, 4 * width, 1)
            if i == 0:
                layer(f"{block}.downsample.0", f"{block}.downsample.1", inputs, 4 * width, 1)
            inputs = 4 * width
    shapes["fc.weight"], shapes["fc.bias"] = (1000, 2048), (1000,)
    return {
        name: np.array(7) if shape == () else np.full(shape, i, np.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }
