"""VGGs in a network, a workdir and a classifier: a grid at stride 16, with or without statistics."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model, load_model
from mmnet_jax.devices import data_mesh
from mmnet_jax.models import backbones
from mmnet_jax.models.backbones import VGG
from mmnet_jax.ops import resize_bilinear
from mmnet_jax.pretraining import step as classification
from mmnet_jax.pretraining.classifier import create_classifier, untrained_variables
from mmnet_jax.training.state import state_variables
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.tiny import draw_episode, training_step
from tests.training.tiny_training import tiny_config

BLOCKS = ((4,), (4,), (6,), (8,), (10,))


@pytest.fixture
def narrow():
    """Registers both VGGs with one convolution of a few channels in each block."""
    networks = {"vgg16": VGG(blocks=BLOCKS), "vgg16_plain": VGG(batch_norm=False, blocks=BLOCKS)}
    with mock.patch.dict(backbones.BACKBONES, {name: lambda n=network: n for name, network in networks.items()}):
        yield


def test_level_2_is_resized_to_level_3s_grid():
    images = np.random.default_rng(0).standard_normal((1, 57, 57, 3)).astype(np.float32)
    backbone = VGG(blocks=BLOCKS)
    classifies = backbone.clone(output_stride=32)
    variables = jax.jit(backbone.init)(jax.random.key(0), images)
    levels, own = jax.jit(lambda *x: (backbone.apply(*x), classifies.apply(*x)["level2"]))(variables, images)
    level2, level3, level4 = levels.values()
    assert (own.shape, level2.shape, level3.shape) == ((1, 8, 8, 6), (1, 4, 4, 6), (1, 4, 4, 8))
    assert (backbone.grid(57), level4.shape) == (4, (1, 4, 4, 10))
    np.testing.assert_allclose(level2, resize_bilinear(own, 4), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(level2[:, ::3, ::3], own[:, ::7, ::7])  # corners coincide


@pytest.mark.slow
def test_mm_net_trains_on_a_vgg_with_batch_statistics(narrow):
    config = tiny_config()
    config.model.update({"backbone": "vgg16", "batch_norm": "batch", "support_level4": "masked_twice", "bins": (0.5,)})
    model, variables = create_model(config)
    episode = draw_episode(batch=1, size=57)
    prediction = jax.eval_shape(model.apply, variables, episode)
    assert prediction.logits.shape == (1, 57, 57, 2)
    assert (prediction.fused.shape, prediction.confidence.shape) == ((1, 4, 4, 7), (1, 4, 4))
    state, update = training_step(config, model, variables)
    frozen = {collection: variables[collection] for collection in ("backbone", "batch_stats")}
    after, losses = update(state, frozen, episode, jax.random.key(0))
    assert np.isfinite(losses.total)
    assert after.params["projection"]["kernel"].shape[2:] == (6 + 8, config.model.channels)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert len(jax.tree.leaves(after.batch_stats)) == 10
    for before, now in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert not np.array_equal(before, now)


def test_a_training_without_statistics_is_saved_and_loaded(narrow, tmp_path):
    config = tiny_config()
    config.model.update({"backbone": "vgg16_plain", "batch_norm": "batch", "bins": (0.5,)})
    workdir = Workdir(tmp_path / "run")
    workdir.create(config)
    model, variables = create_model(config)
    state, _ = training_step(config, model, variables)
    assert state.batch_stats == variables["batch_stats"] == {}
    with Checkpoints(workdir.checkpoints, config) as checkpoints:
        checkpoints.save(state)
        checkpoints.wait()
        restored = checkpoints.restore(0, state)
    _, loaded, _ = load_model(workdir.path)
    for tree in (state_variables(restored, variables), loaded):
        jax.tree.map(np.testing.assert_array_equal, tree, variables)


def test_a_vgg_without_statistics_trains_as_a_classifier(narrow):
    classifier = create_classifier("vgg16_plain", 3)
    settings = classification.Pretraining(32, 10, 0.01, warmup=0, momentum=0, weight_decay=0, label_smoothing=0.1)
    start = untrained_variables("vgg16_plain", 3, seed=0)
    state = classification.create_state(start, classification.create_optimizer(settings))
    images = np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3), np.uint8)
    step = classification.classifier_step(classifier, settings, data_mesh(1))
    for _ in range(2):  # the linear layer starts at zero, so that the first step moves it alone
        state, scores = step(state, images, jnp.arange(8) % 3, jax.random.key(0))
    assert np.isfinite(scores.loss)
    now = classification.state_variables(state)["backbone"]["backbone"]
    for block, tensors in start["backbone"]["backbone"].items():
        assert not np.array_equal(tensors["kernel"], now[block]["kernel"]), block
    assert state.batch_stats == {}
