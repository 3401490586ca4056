"""The whole network with bfloat16 products, against float32 goldens and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model, losses, weights
from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.models.decoder import bin_sizes
from mmnet_jax.models.registry import build_model, frozen_variables
from tests.conftest import REFERENCE
from tests.models import numpy_network
from tests.models.test_goldens import golden_config, golden_episode, state_dict
from tests.ops.references import error
from tests.tiny import draw_episode, tiny_config


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["paper", "released"])
def test_outputs_are_close_to_the_goldens(reading):
    golden = np.load(REFERENCE / f"{reading}_deep_97px_2shot_seed0.npz")
    episode, config = golden_episode(2), golden_config(reading, 2)
    variables, config.model.dtype = weights.from_released(state_dict(reading), config), "bfloat16"
    model = build_model(network_settings(resolve(config)))
    own = {collection: variables[collection]["backbone"] for collection in ("backbone", "batch_stats")}
    prediction = jax.jit(model.apply)({"params": variables["params"], **frozen_variables(model, own)}, episode)
    terms = losses.episode_losses(prediction, episode, config)
    assert {leaf.dtype for leaf in jax.tree.leaves(prediction)} == {np.dtype("float32")}
    assert error(prediction.confidence, golden["conf"]) < 0.02
    assert error(prediction.activations, golden["act_q"]) < 0.02
    assert error(prediction.fused, golden["fused"]) < 0.02
    logits = prediction.logits[:, ::4, ::4]
    assert error(logits, golden["logits"]) < 0.02
    assert np.mean(logits.argmax(-1) != golden["logits"].argmax(-1)) < 0.01
    np.testing.assert_allclose(terms.total, golden["loss"], rtol=0.01)


def assert_same_direction(ours, exact):
    for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
        assert x.dtype == jnp.float32
        assert float(jnp.vdot(x, y) / (jnp.linalg.norm(x) * jnp.linalg.norm(y))) > 0.99


HEADS = [
    {"reading": "released"},
    {"model.nodes": "features", "loss.reconstruction_on": "none"},
    {"model.levels": "2,3"},
    {"model.propagation": "global"},
    {"model.fem_input": "confidence", "loss.reconstruction_on": "none"},
    {"quality.module": "attention"},
    {"model.network": "pfenet", "loss.reconstruction_on": "none"},
    {"model.network": "pfenet", "loss.reconstruction_on": "none", "reading": "released"},
]


@pytest.mark.parametrize("fields", HEADS, ids=str)
def test_every_head_converts_dtypes_explicitly(fields):
    config = tiny_config(**fields, **{"model.dtype": "bfloat16"})  # tests run with strict promotion of dtypes
    model, variables = create_model(config)
    episode = draw_episode(1, 2, 33)

    def loss(params):
        return losses.episode_losses(model.apply({**variables, "params": params}, episode), episode, config).total

    gradients = jax.eval_shape(jax.grad(loss), variables["params"])
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


def float64_logits(episode):
    """Logits of the tiny network, with a float64 backbone and the head in NumPy."""
    config = tiny_config()
    model, variables = create_model(config)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        features = jax.device_get(model.apply(variables, episode, method="extract"))
    assert features.query_high.dtype == np.float64
    parts = zip(*jax.tree.leaves(features), strict=True)
    sizes = {"level3": model.backbone.channels["level3"], "size": 33, "bins": bin_sizes(model.bins, 5)}
    params = jax.tree.map(np.asarray, variables["params"])
    return np.stack([numpy_network.mmnet(params, one, config, **sizes)["logits"] for one in parts])


def test_a_small_network_is_close_to_float64():
    episode, computed = draw_episode(2, 2, 33), []
    for dtype in ("bfloat16", "float32"):
        config = tiny_config(**{"model.dtype": dtype})
        model, variables = create_model(config)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables["backbone"])} == {jnp.dtype(dtype)}

        def loss(params, model=model, variables=variables, config=config):
            prediction = model.apply({**variables, "params": params}, episode)
            return losses.episode_losses(prediction, episode, config).total, prediction.logits

        computed.append(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    (ours, logits), (exact, in_float32) = computed
    expected = float64_logits(episode)
    assert error(in_float32, expected) < 1e-5 < error(logits, expected) < 0.03
    assert_same_direction(ours, exact)
