"""The backbones in PyTorch, with the tensor names of the checkpoints that are ported."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from tests.reference.mmnet_torch import stage, stem


class ResNet(nn.Module):
    """torchvision's names with the 7x7 stem, PFENet's with the deep one."""

    def __init__(self, depths=(3, 4, 6, 3), deep_stem=False, base=64, classifies=False):
        super().__init__()
        if deep_stem:
            self.layer0 = stem(deep=True)
        else:
            self.conv1, self.bn1 = nn.Conv2d(3, base, 7, 2, padding=3, bias=False), nn.BatchNorm2d(base)
        inputs = 2 * base if deep_stem else base
        strides, dilations = ((1, 2, 2, 2), (1, 1, 1, 1)) if classifies else ((1, 2, 1, 1), (1, 1, 2, 4))
        for i, (depth, stride, dilation) in enumerate(zip(depths, strides, dilations, strict=True)):
            width = 2**i * base
            setattr(self, f"layer{i + 1}", stage(inputs, width, depth, stride, dilation))
            inputs = 4 * width

    def forward(self, x):
        if hasattr(self, "layer0"):
            x = self.layer0(x)
        else:
            x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        level2 = self.layer2(self.layer1(x))
        level3 = self.layer3(level2)
        return level2, level3, self.layer4(level3)


class VGG16(nn.Module):
    """torchvision's names, or PFENet's: its slices of the same layers as ``layer0`` to ``layer4``."""

    CHANNELS = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512, "pool")

    def __init__(self, batch_norm=True, sliced=False, classifies=False):
        super().__init__()
        layers, inputs = [], 3
        for outputs in self.CHANNELS:
            if outputs == "pool":
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
                continue
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
            inputs = outputs
        self.classifies = classifies
        self.slices = list(pairwise((0, 7, 14, 24, 34, 43) if batch_norm else (0, 5, 10, 17, 24, 30)))
        if sliced:
            for i, (start, end) in enumerate(self.slices):
                setattr(self, f"layer{i}", nn.Sequential(*layers[start:end]))
        else:
            self.features = nn.Sequential(*layers)

    def forward(self, x):
        levels = []
        for i, (start, end) in enumerate(self.slices):
            x = (getattr(self, f"layer{i}") if hasattr(self, "layer0") else self.features[start:end])(x)
            levels.append(x)
        level2, level3, level4 = levels[2:]
        if self.classifies:
            return level2, level3, self.features[-1](level4)
        return functional.interpolate(level2, level3.shape[2:], mode="bilinear", align_corners=True), level3, level4


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding."""

    def forward(self, x):
        height, width = (
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, s, k, d in zip(x.shape[2:], self.stride, self.kernel_size, self.dilation, strict=True)
        )
        return super().forward(functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, expansion, side, stride, dilation):
        super().__init__()
        hidden = inputs * expansion
        if expansion != 1:
            self._expand_conv, self._bn0 = SameConv(inputs, hidden, 1, bias=False), norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, side, stride, dilation=dilation, groups=hidden, bias=False)
        self._bn1 = norm(hidden)
        self._project_conv, self._bn2 = SameConv(hidden, outputs, 1, bias=False), norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = functional.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_bn0") else x
        y = self._bn2(self._project_conv(functional.relu6(self._bn1(self._depthwise_conv(y)))))
        return y + x if self.residual else y


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 on the stride-8 grid, with each block's stride and dilation in a list."""

    CHANNELS = [16] + 3 * [24] + 3 * [48] + 4 * [88] + 4 * [120] + 5 * [208] + [352]
    KERNELS = [3] + 3 * [3] + 3 * [5] + 4 * [3] + 4 * [5] + 5 * [5] + [3]
    STRIDES = [1, 2, 1, 1, 2, 1, 1] + 14 * [1]
    DILATIONS = 7 * [1] + [1, 2, 2, 2] + 4 * [2] + [2, 4, 4, 4, 4] + [4]

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), norm(32)
        inputs, expansions = [32, *self.CHANNELS[:-1]], [1] + 20 * [6]
        rows = zip(inputs, self.CHANNELS, expansions, self.KERNELS, self.STRIDES, self.DILATIONS, strict=True)
        self._blocks = nn.ModuleList([InvertedResidual(*row) for row in rows])

    def forward(self, x):
        """``x`` is (pixel - 127) / 128."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        outputs = [x := block(x) for block in self._blocks]
        return outputs[6], outputs[14], outputs[20]


def randomise(module: nn.Module) -> nn.Module:
    """Random kernels that keep the signal's scale, and normalisation away from neutral values; in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim == 4:
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(1 + 0.3 * noise.abs())
        elif name.endswith("weight"):
            ends_branch = name.endswith(("bn3.weight", "_bn2.weight"))
            tensor.copy_((0.4 if ends_branch else 1.0) * (1 + 0.1 * noise))
        elif tensor.is_floating_point():
            tensor.copy_(0.1 * noise)
    return module.eval()


def to_numpy(module: nn.Module) -> dict:
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}
