"""Both readings and PFENet against the stored outputs and gradients of another implementation (see reference/)."""

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
from tests.reference import inputs

SIZE = 97
GOLDENS = sorted(REFERENCE.glob("*_deep_97px_*shot_seed0.npz"))
MMNETS = [path for path in GOLDENS if not path.name.startswith("pfenet")]
VALUES = ("conf", "act_q", "fused", "weights", "logits")
TERMS = ("main", "aux", "recon", "loss")
KEYS = {path: VALUES + TERMS if path in MMNETS else ("logits", "main", "aux") for path in GOLDENS}


@cache
def state_dict(reading):
    shapes = json.loads((REFERENCE / "shapes.json").read_text())[reading]
    return {name: inputs.tensor(name, tuple(shape)) for name, shape in shapes.items()}


def golden_episode(shots):
    image = lambda seed: inputs.image(seed, SIZE).transpose(1, 2, 0)  # noqa: E731
    supports = range(10, 10 + shots)
    return Episode(
        query_image=jnp.asarray(image(1))[None],
        query_label=jnp.asarray(inputs.mask(1, SIZE))[None],
        support_images=jnp.stack([image(seed) for seed in supports])[None],
        support_labels=jnp.stack([inputs.mask(seed, SIZE) for seed in supports])[None],
    )


def golden_config(reading, shots):
    config = get_config("released" if reading == "released" else "paper")
    config.model.update(backbone="resnet50_v2", batch_norm="frozen")
    config.data.image_size, config.shots = SIZE, shots
    if reading == "pfenet":
        config.model.network, config.loss.reconstruction_on = "pfenet", "none"
    return config


def authors_names(params):
    """Our gradients under the authors' names of the tensors."""
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
        *((rf"fem/alpha_{i}/kernel", f"alpha_conv.{i - 1}.0.weight") for i in (1, 2, 3)),
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
    """The variables of a golden network, and its features of the episode of two shots."""
    config = golden_config(names, 2)
    variables = weights.from_released(state_dict(names), config)
    model = build_model(network_settings(resolve(config)))
    extract = jax.jit(partial(model.apply, method="extract"))
    with jax.default_matmul_precision("highest"):
        return variables, extract(variables, golden_episode(2))


@cache
def computed(names, shots):
    """Values and gradients of a network on one episode; with one shot, it is the first of the two."""
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


def test_there_are_six_goldens():
    found = [(path.stem.split("_")[0], path.stem.split("_")[3]) for path in GOLDENS]
    assert found == [(names, shots) for names in ("paper", "pfenet", "released") for shots in ("1shot", "2shot")]
    assert all(set(np.load(path).files) == set(KEYS[path]) for path in GOLDENS if path not in MMNETS)


def compared(path):
    names, _, _, shots, _ = path.stem.split("_")
    return np.load(path), *computed(names, int(shots.removesuffix("shot")))


def assert_close(ours, golden, tolerance=1e-4):
    assert np.shape(ours) == golden.shape
    np.testing.assert_allclose(ours, golden, rtol=0, atol=tolerance * np.abs(golden).max())


def assert_norms_equal(gradients, golden):
    expected = {key.removeprefix("gradnorm/"): golden[key] for key in golden.files if key.startswith("gradnorm/")}
    assert expected.keys() == gradients.keys()
    for name, norm in expected.items():
        np.testing.assert_allclose(np.linalg.norm(gradients[name]), norm, rtol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    ("path", "key"), [pytest.param(path, key, id=f"{path.stem}-{key}") for path in GOLDENS for key in KEYS[path]]
)
def test_value(path, key):
    golden, values, _ = compared(path)
    assert_close(values[key], golden[key])


@pytest.mark.parametrize("path", MMNETS, ids=lambda path: path.stem)
def test_gradient_of_the_memory_and_norm_of_every_gradient(path):
    golden, _, gradients = compared(path)
    assert_close(gradients["part_emb_2_level"], golden["grad_memory"], 1e-3)
    assert_norms_equal(gradients, golden)


@pytest.mark.slow
def test_goldens_hold_with_all_of_xlas_optimisations(optimised):
    computed.cache_clear()
    for path in MMNETS:
        golden, values, gradients = compared(path)
        for key in KEYS[path]:
            assert_close(values[key], golden[key])
        assert_norms_equal(gradients, golden)
    computed.cache_clear()
