"""The whole network with products in bfloat16, beside the stored outputs of an independent float32 implementation."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import losses, weights
from mmnet_jax.config import resolve
from mmnet_jax.config.values import network_settings
from mmnet_jax.models.registry import build_model, frozen_variables
from tests.conftest import REFERENCE
from tests.models.test_goldens import SIZE, golden_config, golden_episode, state_dict


@cache
def computed(reading, dtype):
    """The prediction, the losses and the gradients of a golden network on its episode of two shots."""
    config = golden_config(reading, 2)
    variables, config.model.dtype = weights.from_released(state_dict(reading), config), dtype
    model = build_model(network_settings(resolve(config)))
    own = {collection: variables[collection]["backbone"] for collection in ("backbone", "batch_stats")}
    frozen = frozen_variables(model, own)

    @jax.jit
    def run(params):
        features = model.apply({"params": params, **frozen}, golden_episode(2), method="extract")

        def loss(params):
            prediction = model.apply({"params": params}, features, (SIZE, SIZE), method="decode")
            terms = losses.episode_losses(prediction, golden_episode(2), config)
            return terms.total, (prediction, terms)

        return jax.grad(loss, has_aux=True)(params)

    with jax.default_matmul_precision("highest"):
        gradients, (prediction, terms) = run(variables["params"])
    return gradients, prediction, terms


def error(x, exact):
    """Root mean square of the difference, in standard deviations of the exact values."""
    assert x.dtype == jnp.float32
    return float(np.sqrt(np.mean(np.square(x - exact))) / np.std(exact))


@pytest.mark.parametrize("reading", ["paper", "released"])
def test_outputs_are_close_to_the_goldens(reading):
    golden = np.load(REFERENCE / f"{reading}_deep_97px_2shot_seed0.npz")
    _, prediction, terms = computed(reading, "bfloat16")
    assert error(prediction.confidence, golden["conf"]) < 0.02
    assert error(prediction.activations, golden["act_q"]) < 0.02
    assert error(prediction.fused, golden["fused"]) < 0.02
    logits = prediction.logits[:, ::4, ::4]
    assert error(logits, golden["logits"]) < 0.02
    assert np.mean(logits.argmax(-1) != golden["logits"].argmax(-1)) < 0.01
    np.testing.assert_allclose(terms.total, golden["loss"], rtol=0.01)


def test_gradients_point_where_those_in_float32_do():
    ours, exact = (jax.tree.leaves(computed("paper", dtype)[0]) for dtype in ("bfloat16", "float32"))
    for x, y in zip(ours, exact, strict=True):
        assert x.dtype == jnp.float32
        assert float(jnp.vdot(x, y) / (jnp.linalg.norm(x) * jnp.linalg.norm(y))) > 0.99
