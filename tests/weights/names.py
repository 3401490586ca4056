"""Tensors of backbones by the names in other projects' checkpoints, made without PyTorch."""

import numpy as np

PLAIN = {"torchvision": [("conv1", "bn1")], "PFENet": [("layer0.0", "layer0.1")]}
DEEP = {
    "PFENet": [("layer0.0", "layer0.1"), ("layer0.3", "layer0.4"), ("layer0.6", "layer0.7")],
    "ImageNet file": [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")],
    "timm": [("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")],
}


def convolution_shapes(name, inputs, outputs, side, bias=()):
    return {f"{name}.weight": (outputs, inputs, side, side)} | {f"{name}.{part}": (outputs,) for part in bias}


def normalisation_shapes(name, channels):
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def numbered(shapes):
    """Tensors filled with distinct numbers, so that a mix-up shows."""
    full = lambda i, shape: np.full(shape, i, np.float32) if shape else np.array(7)  # noqa: E731
    return {name: full(i, shape) for i, (name, shape) in enumerate(shapes.items())}


def resnet50_tensors(stem: list[tuple[str, str]], depths=(3, 4, 6, 3), base=64) -> dict[str, np.ndarray]:
    widths = [(3, base)] if len(stem) == 1 else [(3, base), (base, base), (base, 2 * base)]
    layers = [(*names, *width, 7 if len(stem) == 1 else 3) for names, width in zip(stem, widths, strict=True)]
    inputs = widths[-1][1]
    for stage, (width, depth) in enumerate(zip((1, 2, 4, 8), depths, strict=True), start=1):
        width *= base
        for block in (f"layer{stage}.{i}" for i in range(depth)):
            layers.append((f"{block}.conv1", f"{block}.bn1", inputs, width, 1))
            layers.append((f"{block}.conv2", f"{block}.bn2", width, width, 3))
            layers.append((f"{block}.conv3", f"{block}.bn3", width, 4 * width, 1))
            if block.endswith(".0"):
                layers.append((f"{block}.downsample.0", f"{block}.downsample.1", inputs, 4 * width, 1))
            inputs = 4 * width
    shapes = {}
    for convolution, normalisation, inputs, outputs, side in layers:
        shapes |= convolution_shapes(convolution, inputs, outputs, side) | normalisation_shapes(normalisation, outputs)
    return numbered(shapes | {"fc.weight": (1000, 2048), "fc.bias": (1000,)})


def vgg16_tensors(layout: str, batch_norm: bool) -> dict[str, np.ndarray]:
    """``layout`` is torchvision's, timm's or PFENet's."""
    shapes, inputs = {}, 3
    step = 3 if batch_norm else 2
    starts = (0, 7, 14, 24, 34) if batch_norm else (0, 5, 10, 17, 24)  # of the blocks
    for block, (start, count, width) in enumerate(zip(starts, (2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True)):
        prefix, first = (f"layer{block}", 0) if layout == "PFENet" else ("features", start)
        for i in range(first, first + step * count, step):
            shapes |= convolution_shapes(f"{prefix}.{i}", inputs, width, 3, bias=("bias",))
            shapes |= normalisation_shapes(f"{prefix}.{i + 1}", width) if batch_norm else {}
            inputs = width
    dense = {
        "torchvision": (("classifier.0", 4096, 25088), ("classifier.3", 4096, 4096), ("classifier.6", 1000, 4096)),
        "timm": (("pre_logits.fc1", 4096, 512, 7, 7), ("pre_logits.fc2", 4096, 4096, 1, 1), ("head.fc", 1000, 4096)),
        "PFENet": (),
    }
    classifier = {}
    for name, *shape in dense[layout]:  # broadcast: 500 MB otherwise
        classifier[f"{name}.weight"] = np.broadcast_to(np.float32(0), shape)
        classifier[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return numbered(shapes) | classifier
