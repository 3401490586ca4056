"""Pretraining: schedule, loss, learning, resuming."""

import functools
import json
import math

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import get_config, weights
from mmnet_jax.config import resolve
from mmnet_jax.config.values import pretraining
from mmnet_jax.data.dataset import Dataset
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.errors import UserError
from mmnet_jax.pretraining import loop as pretraining_loop
from mmnet_jax.pretraining.classifier import create_classifier, untrained_variables
from mmnet_jax.pretraining.loop import pretrain
from mmnet_jax.pretraining.step import create_optimizer, learning_rate, smoothed_cross_entropy
from mmnet_jax.workdir.folder import Workdir
from tests.evaluation.conftest import make_split
from tests.pretraining.test_imagenet import make_imagenet
from tests.training.tiny_training import STOPS

CLASSES = [1, 3, 5, 11]  # all of them base classes of fold 1


def tiny_config(**pretraining):
    config = get_config()
    config.fold = 1
    config.model.backbone = "tiny"
    config.data.min_pixels = 50
    config.pretraining.update(dataset="crops", image_size=32, steps=40, batch_size=16, log_every=20)
    config.pretraining.update(pretraining)
    return resolve(config)


@functools.cache
def tiny_dataset():
    return Dataset(PASCAL5I, make_split("train", 4 * CLASSES, 0), make_split("val", CLASSES, 1))


def pretrain_tiny(path, config=None, say=lambda line: None):
    workdir = Workdir(path)
    pretrain(config or tiny_config(), workdir, say, tiny_dataset())
    return workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of an uninterrupted pretraining, and its output."""
    lines = []
    return pretrain_tiny(tmp_path_factory.mktemp("finished"), say=lines.append), lines


@pytest.mark.parametrize("name", ["vgg16_plain", "efficientnet_lite2", "tiny"])
def test_untrained_variables_are_those_of_the_classifier(name):
    classifier = create_classifier(name, 7)
    shapes = {"batch_stats": {}} | jax.eval_shape(classifier.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    variables = untrained_variables(name, 7, seed=0)
    jax.tree.map(lambda mine, their: np.testing.assert_equal(mine.shape, their.shape), variables, shapes)
    assert variables["params"]["linear"]["kernel"].shape[1] == 7
    own = {collection: variables[collection].get("backbone", {}) for collection in ("backbone", "batch_stats")}
    found = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(own, sep="/").items()}
    assert found == weights.backbones.variable_shapes(name)
    logits = jax.eval_shape(classifier.apply, variables, jnp.zeros((2, 65, 65, 3)))
    assert logits.shape == (2, 7)


def test_the_learning_rate_and_smoothed_cross_entropy_by_hand():
    settings = pretraining(tiny_config(steps=10, learning_rate=2.0, warmup=0.2))
    rates = [float(learning_rate(settings)(i)) for i in (0, 1, 2, 4, 6, 9, 10)]
    falling = [1 + math.cos(math.pi * i / 8) for i in (2, 4, 7)]
    np.testing.assert_allclose(rates, [1.0, 2.0, 2.0, *falling, 0.0], atol=1e-6)
    unwarmed = learning_rate(pretraining(tiny_config(steps=4, learning_rate=2.0, warmup=0.0)))
    np.testing.assert_allclose([float(unwarmed(i)) for i in (0, 2, 4)], [2.0, 1.0, 0.0], atol=1e-6)
    logits = jnp.log(jnp.array([[3.0, 1.0], [1.0, 1.0]]))
    loss = smoothed_cross_entropy(logits, jnp.array([0, 1]), 0.2)
    np.testing.assert_allclose(loss, (-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)) + math.log(2)) / 2, rtol=1e-6)


def test_weight_decay_changes_only_the_kernels():
    settings = pretraining(tiny_config(steps=1, learning_rate=0.5, warmup=1.0, momentum=0.9, weight_decay=0.1))
    optimizer = create_optimizer(settings)
    trained = {"backbone": {"stem": dict.fromkeys(("kernel", "scale", "bias"), jnp.array([4.0]))}}
    gradient = {"backbone": {"stem": dict.fromkeys(("kernel", "scale", "bias"), jnp.array([1.0]))}}
    updates, _ = optimizer.update(gradient, optimizer.init(trained), trained)
    stem = updates["backbone"]["stem"]
    np.testing.assert_allclose(stem["kernel"], -0.5 * 1.9 * (1 + 0.1 * 4), rtol=1e-6)  # Nesterov: 1 + momentum
    np.testing.assert_allclose([stem["scale"], stem["bias"]], [[-0.5 * 1.9], [-0.5 * 1.9]], rtol=1e-6)


def test_a_backbone_learns_to_classify(finished):
    workdir, lines = finished
    assert lines[-1] == "top-1 100.0% on 4 held-out images"
    lines = [line for line in lines if " crop " not in line]
    opening = "16 images of 15 classes, 40 steps of 16 images at 32 px, 8 cpu device(s); the first step compiles"
    assert lines[0] == opening
    assert [line.split("  ")[0] for line in lines[1:-1]] == [f"step {step}/40" for step in (1, 20, 40)]
    logged = [json.loads(line) for line in (workdir.log / "pretraining/metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged] == [1, 20, 40]
    assert logged[0]["loss"] == pytest.approx(math.log(15), rel=1e-5)  # of all 15 base classes
    assert logged[-1]["correct"] > 0.7  # since step 20, with random colours


def test_the_result_is_the_backbone_alone(finished):
    workdir, _ = finished
    assert sorted(path.name for path in workdir.path.iterdir()) == ["backbone.safetensors", "log"]
    variables = weights.load_backbone(workdir.backbone_file, "tiny")
    assert set(variables["backbone"]) == {"stem_0", "stem_1", "stem_2", "stage3", "stage4"}
    start = untrained_variables("tiny", 15, seed=321)
    for collection in ("backbone", "batch_stats"):
        before = flax.traverse_util.flatten_dict(start[collection]["backbone"])
        for path, leaf in flax.traverse_util.flatten_dict(variables[collection]).items():
            assert not np.array_equal(leaf, before[path]), path


def test_a_finished_pretraining_is_not_done_again(tmp_path):
    output = tmp_path / "backbone.safetensors"
    output.write_bytes(b"whatever")
    (tmp_path / "pretraining" / "8").mkdir(parents=True)  # as after a kill just before its end
    lines = []
    pretrain_tiny(tmp_path, say=lines.append)
    assert (lines, output.read_bytes()) == (["done before"], b"whatever")
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("end", "error", "resumed"), STOPS.values(), ids=STOPS)
def test_a_resumed_pretraining_ends_with_the_same_bytes(finished, tmp_path, end, error, resumed):
    config = tiny_config(log_every=2, checkpoint_every=4)
    with pytest.raises(error, match=r"^crash$|pretraining stopped at step 3 "):
        pretrain_tiny(tmp_path, config, end)
    assert not (tmp_path / "backbone.safetensors").exists()
    lines = []
    workdir = pretrain_tiny(tmp_path, say=lines.append)
    assert f"resuming {tmp_path} at step {resumed} of 40" in lines
    assert workdir.backbone_file.read_bytes() == finished[0].backbone_file.read_bytes()
    assert not workdir.pretraining.exists()


def test_a_loss_that_is_not_finite_is_reported_with_its_step(tmp_path, monkeypatch):
    broken = lambda *given: jax.tree.map(lambda x: x * np.nan, untrained_variables(*given))  # noqa: E731
    monkeypatch.setattr(pretraining_loop, "untrained_variables", broken)
    with pytest.raises(UserError, match=r"the loss of step 1 is not finite \(loss nan, .* there is no checkpoint yet"):
        pretrain_tiny(tmp_path)
    assert not (tmp_path / "backbone.safetensors").exists()


def test_a_dataset_without_objects_of_base_classes_is_refused(tmp_path):
    config = tiny_config()
    config.data.min_pixels = 10**6
    with pytest.raises(UserError, match="no image of the train split holds 1000000 pixels of a base class of fold 1"):
        pretrain_tiny(tmp_path, config)


def test_pretraining_on_imagenet_as_prepared_by_tfds(tmp_path):
    config = tiny_config(dataset="imagenet2012", data_dir=str(make_imagenet(tmp_path / "data")), steps=2)
    lines = []
    pretrain(config, Workdir(tmp_path), lines.append)
    assert lines[0].startswith("7 images of 5 classes")
    assert lines[-1].endswith("% on 4 held-out images")
