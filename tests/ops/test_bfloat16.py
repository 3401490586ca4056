"""Errors of the operations with bfloat16 products against float64, on random features and on those of photographs."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmnet_jax import Episode, create_model, get_config, ops, prepare_image, prepare_label
from mmnet_jax.models.backbones.convolution import convolve
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import Features
from tests.models import numpy_network
from tests.ops import references
from tests.ops.references import error

BF16 = jnp.bfloat16


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def random_features():
    """Features of two shots, as sparse as after a ReLU."""
    mid, high = (jax.nn.relu(draw(channels, 1, 3, 25, 25, channels)) for channels in (48, 256))
    mask = jnp.maximum(jax.random.uniform(jax.random.key(3), (1, 2, 25, 25), minval=-2), 0)
    return Features(mid[:, 0], high[:, 0], mid[:, 1:], high[:, 1:], mask)


def photographs_features(folder: Path):
    """Features of three photographs, with all objects as foreground, by a backbone with its published weights."""
    config = get_config("paper")
    config.model.update(backbone="efficientnet_lite2", weights=os.environ.get("MMNET_BACKBONE", ""), dtype="float32")
    config.data.image_size = 161
    if not config.model.weights:
        pytest.skip("MMNET_BACKBONE names no efficientnet_lite2.safetensors, as scripts/port_weights.py writes it")
    voc, names = folder / "VOCdevkit" / "VOC2012", ("2007_000032", "2007_000033", "2007_000039")
    images = [prepare_image(voc / "JPEGImages" / f"{name}.jpg", config) for name in names]
    masks = [np.asarray(Image.open(voc / "SegmentationClassAug" / f"{name}.png")) for name in names]
    labels = [prepare_label(np.where(mask == 255, 255, mask > 0).astype(np.uint8), config) for mask in masks]
    model, variables = create_model(config)
    episode = Episode(images[0][None], jnp.stack(images[1:])[None], jnp.stack(labels[1:])[None])
    return jax.jit(lambda v, e: model.apply(v, e, method="extract"))(variables, episode)


@pytest.fixture(scope="module", params=["random", pytest.param("photographs", marks=pytest.mark.slow)])
def features(request):
    if request.param == "random":
        return random_features()
    return photographs_features(request.getfixturevalue("real_data"))


@pytest.fixture(scope="module")
def projected(features):
    """F of the query and the first shot, in float64, by a random 3x3 projection."""
    kernel = draw_kernel(features)
    mids = features.query_mid[0], features.support_mid[0, 0]
    return [np.maximum(numpy_network.convolve(np.asarray(mid, np.float64), kernel), 0) for mid in mids]


@pytest.fixture(scope="module")
def nodes(projected):
    """Memory logits of the query and the first shot, in float32."""
    memory = draw(8, 50, 64)
    return [jnp.asarray(f @ np.asarray(memory, np.float64).T, jnp.float32)[None] for f in projected]


def draw_kernel(features):
    fan_in = 9 * features.query_mid.shape[-1]
    return np.asarray(draw(7, 3, 3, fan_in // 9, 64) * fan_in**-0.5, np.float64)


def test_convolutions(features):
    mid, kernel = features.query_mid, draw_kernel(features)
    exact = numpy_network.convolve(np.asarray(mid[0], np.float64), kernel)
    frozen = convolve(mid, jnp.asarray(kernel, BF16), padding=((1, 1), (1, 1)))
    trained = convolution(64, 3, BF16).apply({"params": {"kernel": jnp.asarray(kernel, jnp.float32)}}, mid)
    assert frozen.dtype == trained.dtype == BF16
    assert 1e-4 < error(frozen[0], exact) < 5e-3
    assert 1e-4 < error(trained[0], exact) < 5e-3


def test_memory_logits(projected):
    memory = draw(8, 50, 64)
    exact = projected[0] @ np.asarray(memory, np.float64).T
    logits = ops.memory_logits(jnp.asarray(projected[0], jnp.float32), memory, BF16)
    assert logits.dtype == jnp.float32 and 1e-4 < error(logits, exact) < 5e-3


@pytest.mark.parametrize("cosine_on", ["activations", "logits"])
def test_propagation(features, nodes, cosine_on):
    values, mask = jax.nn.sigmoid(nodes[1]), features.support_mask[:, 0]
    pair = nodes if cosine_on == "logits" else [jax.nn.sigmoid(x) for x in nodes]
    ours = ops.propagate(*pair, values, mask, BF16)
    carried, quality = references.propagate(pair[0][0], pair[1][0], values[0], mask[0])
    np.testing.assert_allclose(ours.values[0], carried, rtol=0.01)
    np.testing.assert_allclose(ours.quality[0], quality, rtol=1e-3)


def test_confidence(features):
    query, support, mask = features.query_high, features.support_high, features.support_mask
    expected = references.confidence(query[0], support[0], mask[0])
    np.testing.assert_allclose(ops.foreground_confidence(query, support, mask, BF16)[0], expected, atol=0.01)


@pytest.mark.parametrize("softmax_on", ["activations", "logits"])
def test_reconstruction_loss_and_its_gradient(nodes, softmax_on):
    logits = nodes[1]
    probabilities = jax.nn.softmax(logits if softmax_on == "logits" else jax.nn.sigmoid(logits), axis=-1)
    exact = references.reconstruction(logits[0], probabilities[0])
    np.testing.assert_allclose(ops.reconstruction_loss(logits, probabilities, BF16)[0], exact, rtol=0.01)
    ours, full = (
        jax.grad(lambda *a, dtype=dtype: jnp.sum(ops.reconstruction_loss(*a, dtype)), (0, 1))(logits, probabilities)
        for dtype in (BF16, jnp.float32)
    )
    for x, y in zip(ours, full, strict=True):  # in float32 the gradient is the plain formula's to 1e-5
        assert x.dtype == jnp.float32 and 0 < error(x, np.asarray(y, np.float64)) < 0.1
