"""Both readings and PFENet against stored outputs and gradients of an independent implementation (see reference/)."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, get_config, losses, weights
from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.models.registry import build_model
from tests.conftest import REFERENCE

SIZE = 97
GOLDENS = sorted(path for path in REFERENCE.glob("*_deep_97px_*shot_seed0.npz") if not path.name.startswith("pfenet"))
VALUES = ("conf", "act_q", "fused", "weights", "logits")
TERMS = ("main", "aux", "recon", "loss")


@cache
def inputs():
    spec = importlib.util.spec_from_file_location("golden_inputs", REFERENCE / "inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def state_dict(reading):
    shapes = json.loads((REFERENCE / "shapes.json").read_text())[reading]
    return {name: inputs().tensor(name, tuple(shape)) for name, shape in shapes.items()}


def golden_episode(shots):
    make = inputs()
    image = lambda seed: jnp.asarray(make.image(seed, SIZE).transpose(1, 2, 0))  # noqa: E731
    label = lambda seed: jnp.asarray(make.mask(seed, SIZE))  # noqa: E731
    return Episode(
        query_image=image(1)[None],
        query_label=label(1)[None],
        support_images=jnp.stack([image(10 + k) for k in range(shots)])[None],
        support_labels=jnp.stack([label(10 + k) for k in range(shots)])[None],
    )


def golden_config(reading, shots):
    config = get_config("released" if reading == "released" else "paper")
    config.model.backbone = "resnet50_v2"
    config.model.batch_norm = "frozen"
    config.data.image_size = SIZE
    config.shots = shots
    if reading == "pfenet":
        config.model.network, config.loss.reconstruction_on = "pfenet", "none"
    return config


def authors_names(params):
    """Our trained tensors under the authors' names, for the gradients' norms."""
    ours = {"/".join(k.key for k in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    table = [
        (r"memory", "part_emb_2_level"),
        (r"projection/kernel", "down_query_level_2.0.weight"),
        (r"support_projection/kernel", "down_supp_level_2.0.weight"),
        (r"fem/merge_(\d)/kernel", r"init_merge.\1.0.weight"),
        (r"fem/beta_(\d)/first/kernel", r"beta_conv.\1.0.weight"),
        (r"fem/beta_(\d)/second/kernel", r"beta_conv.\1.2.weight"),
        (r"fem/classifier_(\d)/hidden/kernel", r"inner_cls.\1.0.weight"),
        (r"fem/classifier_(\d)/output/kernel", r"inner_cls.\1.3.weight"),
        (r"fem/classifier_(\d)/output/bias", r"inner_cls.\1.3.bias"),
        (r"fem/alpha_1/kernel", "alpha_conv.0.0.weight"),
        (r"fem/alpha_2/kernel", "alpha_conv.1.0.weight"),
        (r"fem/alpha_3/kernel", "alpha_conv.2.0.weight"),
        (r"fem/merge/kernel", "res1.0.weight"),
        (r"fem/beta/first/kernel", "res2.0.weight"),
        (r"fem/beta/second/kernel", "res2.2.weight"),
        (r"fem/classifier/hidden/kernel", "cls.0.weight"),
        (r"fem/classifier/output/kernel", "cls.3.weight"),
        (r"fem/classifier/output/bias", "cls.3.bias"),
    ]
    named = {}
    for path, leaf in ours.items():
        (name,) = [re.sub(pattern, to, path) for pattern, to in table if re.fullmatch(pattern, path)]
        named[name] = leaf
    return named


@cache
def backbone(names):
    """The compiled backbone of ``names`` with its variables, and the features that it extracts of two shots."""
    config = golden_config(names, 2)
    variables = weights.from_released(state_dict(names), config)
    model = build_model(network_settings(resolve(config)))
    extract = jax.jit(partial(model.apply, method="extract"))
    with jax.default_matmul_precision("highest"):
        return variables, extract(variables, golden_episode(2))


@cache
def computed(names, shots):
    """Values and gradients of a network on one episode; one shot is the first of two."""
    config, episode = golden_config(names, shots), golden_episode(shots)
    model = build_model(network_settings(resolve(config)))
    variables, features = backbone(names)
    features = jax.tree.map(lambda x: x[:, :shots] if x.shape[1] == 2 else x, features)

    def loss(params, features):
        prediction = model.apply({"params": params}, features, (SIZE, SIZE), method="decode")
        terms = losses.episode_losses(prediction, episode, config)
        return terms.total, (prediction, terms)

    # PFENet's goldens hold no gradients
    run = jax.jit(loss if names == "pfenet" else jax.grad(loss, has_aux=True))
    with jax.default_matmul_precision("highest"):
        gradients, (prediction, terms) = run(variables["params"], features)
    values = {"logits": prediction.logits[:, ::4, ::4], "main": terms.main, "aux": terms.auxiliary}
    if names == "pfenet":
        return values, {}
    values |= {
        "conf": prediction.confidence,
        "act_q": prediction.activations,
        "fused": prediction.fused,
        "weights": prediction.shot_weights,
        "recon": terms.reconstruction,
        "loss": terms.total,
    }
    return values, authors_names(gradients)


def test_all_four_goldens_are_there():
    assert [path.name.split("_")[0] + path.name.split("_")[3] for path in GOLDENS] == [
        "paper1shot",
        "paper2shot",
        "released1shot",
        "released2shot",
    ]


def compared(path):
    reading, _, _, shots, _ = path.stem.split("_")
    return np.load(path), *computed(reading, int(shots.removesuffix("shot")))


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
class TestGolden:
    @pytest.mark.parametrize("key", VALUES + TERMS)
    def test_value(self, path, key):
        golden, values, _ = compared(path)
        assert np.shape(values[key]) == golden[key].shape
        np.testing.assert_allclose(values[key], golden[key], rtol=0, atol=1e-4 * np.abs(golden[key]).max())

    def test_gradient_of_the_memory(self, path):
        golden, _, gradients = compared(path)
        expected = golden["grad_memory"]
        np.testing.assert_allclose(gradients["part_emb_2_level"], expected, rtol=0, atol=1e-3 * np.abs(expected).max())

    def test_norm_of_every_gradient(self, path):
        golden, _, gradients = compared(path)
        expected = {key.removeprefix("gradnorm/"): golden[key] for key in golden.files if key.startswith("gradnorm/")}
        assert expected.keys() == gradients.keys()
        for name, norm in expected.items():
            np.testing.assert_allclose(np.linalg.norm(gradients[name]), norm, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("key", ["logits", "main", "aux"])
def test_pfenet(shots, key):
    golden = np.load(REFERENCE / f"pfenet_deep_97px_{shots}shot_seed0.npz")
    assert sorted(golden.files) == ["aux", "logits", "main"]
    ours = computed("pfenet", shots)[0][key]
    assert np.shape(ours) == golden[key].shape
    np.testing.assert_allclose(ours, golden[key], rtol=0, atol=1e-4 * np.abs(golden[key]).max())


@pytest.mark.slow
def test_goldens_hold_with_all_of_xlas_optimisations(optimised):
    computed.cache_clear()
    for path in GOLDENS:
        golden, values, gradients = compared(path)
        for key in VALUES + TERMS:
            np.testing.assert_allclose(values[key], golden[key], rtol=0, atol=1e-4 * np.abs(golden[key]).max())
        for name, gradient in gradients.items():
            np.testing.assert_allclose(np.linalg.norm(gradient), golden[f"gradnorm/{name}"], rtol=1e-3)
    computed.cache_clear()
