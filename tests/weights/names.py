"""Backbones' tensors as other people name them, written out without any framework."""

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
    return _numbered(shapes)


def vgg16_tensors(layout: str, batch_norm: bool) -> dict[str, np.ndarray]:
    """As ``resnet50_tensors``; ``layout`` is torchvision's, timm's or PFENet's."""
    shapes: dict[str, tuple[int, ...]] = {}
    step = 3 if batch_norm else 2
    starts = (0, 7, 14, 24, 34) if batch_norm else (0, 5, 10, 17, 24)  # of the blocks
    inputs = 3
    for block, (start, count, width) in enumerate(zip(starts, (2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True)):
        for i in range(count):
            prefix, first = (f"layer{block}", 0) if layout == "PFENet" else ("features", start)
            convolution, normalisation = f"{prefix}.{first + step * i}", f"{prefix}.{first + step * i + 1}"
            shapes[f"{convolution}.weight"], shapes[f"{convolution}.bias"] = (width, inputs, 3, 3), (width,)
            if batch_norm:
                for buffer in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"{normalisation}.{buffer}"] = (width,)
                shapes[f"{normalisation}.num_batches_tracked"] = ()
            inputs = width
    dense = {
        "torchvision": (("classifier.0", 4096, 25088), ("classifier.3", 4096, 4096), ("classifier.6", 1000, 4096)),
        "timm": (("pre_logits.fc1", 4096, 512, 7, 7), ("pre_logits.fc2", 4096, 4096, 1, 1), ("head.fc", 1000, 4096)),
        "PFENet": (),
    }
    classifier = {}
    for name, *shape in dense[layout]:  # 500 MB, were they written out
        classifier[f"{name}.weight"] = np.broadcast_to(np.float32(0), shape)
        classifier[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return _numbered(shapes) | classifier


def _numbered(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {
        name: np.array(7) if shape == () else np.full(shape, i, np.float32)
        for i, (name, shape) in enumerate(shapes.items())
    }
