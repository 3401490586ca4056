"""The rows of the paper's ablation tables: their parameters, and their outputs against NumPy."""

import zlib
from functools import cache, partial

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import losses
from mmnet_jax.config import differences, load_recipe, recipe_rows, resolve
from mmnet_jax.config.values import network_settings, objective
from mmnet_jax.models import Features
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.registry import build_model, frozen_variables, init_head
from tests.models import numpy_network
from tests.tiny import assert_trees_close, draw_episode, segment_both_ways

GRID, SIZE, BINS, D = 5, 33, (5, 2), 12
LEVEL2, LEVEL3, LEVEL4 = 8, 12, 16  # the tiny backbone's channels
ABLATIONS = recipe_rows("ablations")
ROWS = {name: row for name, row in ABLATIONS.items() if row.fields.keys() - {"shots"}}


def merges(channels):
    """Shapes of the decoder's first kernels, for a number of input channels."""
    return {f"fem/merge_{i}/kernel": (1, 1, channels, D) for i in range(len(BINS))}


LOSS_ALONE = {"reconstruction_none", "reconstruction_query", "reconstruction_both"}
ABSENT = {"memory": None, "projection/kernel": None}
CHANGES = {  # parameters: path -> shape, None if absent
    "memory_20": {"memory": (20, D), **merges(21)},
    "memory_100": {"memory": (100, D), **merges(101)},
    "fcm_only": {**ABSENT, **merges(1)},
    "fcm_feat": {"memory": None, **merges(D + 1)},
    "mmm_2": {"projection/kernel": (3, 3, LEVEL2, D)},
    "mmm_3": {"projection/kernel": (3, 3, LEVEL3, D)},
    "mmm_2_and_3": {
        **ABSENT,
        **{f"memory_level{level}": (50, D) for level in (2, 3)},
        "projection_level2/kernel": (3, 3, LEVEL2, D),
        "projection_level3/kernel": (3, 3, LEVEL3, D),
        **merges(101),
    },
    **{name: {} for name in ("global", "without_qmm", *LOSS_ALONE)},
    "attention": {"attention_hidden/kernel": (3, 3, 2 * D, D), "attention_score/kernel": (3, 3, D, 1)},
    "without_fcm": merges(50),
}
SAME_CODE = {"memory_20", "memory_100", "mmm_2", "mmm_3", "reconstruction_none", "reconstruction_query"}
SAME_CODE |= {"fcm_only", "without_fcm"}
"""Rows with the code of other rows and other shapes, or with no trained part but the decoder."""


def small(recipe, bins=(1.0, 0.5)):
    """(config, network) of a recipe with few channels and small images."""
    config = load_recipe(recipe)
    config.model.update(backbone="tiny", channels=D, bins=bins)
    config.data.image_size = SIZE
    config = resolve(config)
    return config, build_model(network_settings(config))


@cache
def inputs(shots):
    """Features of two episodes with soft masks; of several shots, one in the second episode has no foreground."""
    draw = np.random.default_rng(shots)
    masks = draw.uniform(size=(2, shots, GRID, GRID)) * (draw.uniform(size=(2, shots, GRID, GRID)) > 0.5)
    if shots > 1:
        masks[1, 0] = 0
    normal = lambda *shape: jnp.asarray(draw.standard_normal(shape), jnp.float32)  # noqa: E731
    features = Features(
        normal(2, GRID, GRID, LEVEL2 + LEVEL3),
        normal(2, GRID, GRID, LEVEL4),
        normal(2, shots, GRID, GRID, LEVEL2 + LEVEL3),
        normal(2, shots, GRID, GRID, LEVEL4),
        jnp.asarray(masks, jnp.float32),
    )
    return features, draw.integers(0, 2, (2, SIZE, SIZE)).astype(np.int32)


def parameters(model):
    """Parameters drawn by name and shape, so that rows have equal values where they share a tensor."""
    flat = flax.traverse_util.flatten_dict(jax.eval_shape(lambda: init_head(model, 0)), sep="/")
    drawn = {}
    for path, leaf in flat.items():
        scale = 0.3 if path.startswith("memory") or leaf.ndim == 1 else (2 / np.prod(leaf.shape[:-1])) ** 0.5
        normal = np.random.default_rng(zlib.crc32(path.encode())).standard_normal(leaf.shape)
        drawn[path] = jnp.asarray(scale * normal, jnp.float32)
    return flax.traverse_util.unflatten_dict(drawn, sep="/")


@partial(jax.jit, static_argnums=0)
def decode(model, params, features):
    """Compiled once for rows that differ only in their losses."""
    return model.apply({"params": params}, features, (SIZE, SIZE), method="decode")


@cache
def computed(recipe, shots):
    """(config, parameters, prediction, losses) of a recipe."""
    config, model = small(recipe)
    features, labels = inputs(shots)
    params = parameters(model)
    prediction = decode(model, params, features)
    terms = losses.compute_losses(prediction, jnp.asarray(labels), objective(config))
    return config, params, prediction, terms


def row(name):
    return computed(f"ablations:{name}", 2)


def reference(config, params, shots, episode):
    features, _ = inputs(shots)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    parts = [np.asarray(x[episode], np.float64) for x in jax.tree.leaves(features)]
    if config.model.network == "pfenet":
        return numpy_network.pfenet(params, parts, SIZE, BINS)
    return numpy_network.mmnet(params, parts, config, LEVEL3, SIZE, BINS)


def shapes(params):
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(params, sep="/").items()}


def test_every_row_that_differs_from_the_default_is_tested():
    assert CHANGES.keys() == ROWS.keys()
    assert len(ROWS) == 13 + 1  # the paper's, and level 2 alone
    assert len(ABLATIONS) == 19 + 1  # "with QMM" stands in two tables


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_changes_only_the_fields_that_it_names(name):
    default, row = resolve(load_recipe("pascal_1shot")), resolve(load_recipe(f"ablations:{name}"))
    assert {line.split(":")[0] for line in differences(default, row)} == ABLATIONS[name].fields.keys()


RECIPES = [*(f"ablations:{name}" for name in ROWS), "pfenet"]


@pytest.mark.parametrize(
    ("recipe", "shots"), [*((recipe, 2) for recipe in RECIPES), ("ablations:mmm_2_and_3", 1), ("pfenet", 1)]
)
def test_outputs_and_losses_equal_the_reference(recipe, shots):
    config, params, prediction, terms = computed(recipe, shots)
    theirs = [reference(config, params, shots, episode) for episode in range(2)]
    names = {"logits": "logits", "fused": "fused", "weights": "shot_weights", "confidence": "confidence"}
    pairs = {
        key: (getattr(prediction, names[key]), [each[key] for each in theirs])
        for key in names.keys() & theirs[0].keys()
    }
    for i, ours in enumerate(prediction.auxiliary_logits):
        pairs[f"auxiliary {i}"] = ours, [each["auxiliary"][i] for each in theirs]
    for key, (ours, expected) in pairs.items():
        assert ours.shape == np.shape(expected)
        tolerance = 1e-5 if key == "confidence" else 1e-4 * max(1e-3, np.abs(expected).max(initial=0))
        np.testing.assert_allclose(ours, np.stack(expected), rtol=0, atol=tolerance, err_msg=key)
    reconstruction = np.mean([each.get("reconstruction", 0.0) for each in theirs])
    np.testing.assert_allclose(terms.reconstruction, reconstruction, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in ROWS if name not in SAME_CODE])
def test_a_shot_without_foreground_leaves_gradients_finite(name):
    (config, model), (features, labels), params = small(f"ablations:{name}"), inputs(2), row(name)[1]
    decoder = {"fem": params["fem"]}  # its gradients do not depend on masks, and take the longest to compile

    def loss(others):
        prediction = decode.__wrapped__(model, others | decoder, features)
        return losses.compute_losses(prediction, jnp.asarray(labels), objective(config)).total

    gradients = jax.jit(jax.grad(loss))({name: value for name, value in params.items() if name != "fem"})
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_changes_only_its_own_parameters_and_changes_the_output(name):
    (_, default, prediction, terms), (_, params, changed, changed_terms) = row("apm"), row(name)
    before, now = shapes(default), shapes(params)
    assert {path: now.get(path) for path in before | now if before.get(path) != now.get(path)} == CHANGES[name]
    if name in LOSS_ALONE:
        np.testing.assert_array_equal(changed.logits, prediction.logits)
        assert abs(float(changed_terms.reconstruction) - float(terms.reconstruction)) > 1e-4
    else:
        assert float(jnp.abs(changed.logits - prediction.logits).max()) > 1e-3
    np.testing.assert_allclose(changed.confidence, prediction.confidence, atol=1e-6)  # no row touches it


def test_without_a_memory_there_are_no_embeddings_and_no_reconstruction_loss():
    for name in ("fcm_only", "fcm_feat"):
        _, _, prediction, terms = row(name)
        assert float(terms.reconstruction) == 0 and prediction.support_memory_logits == ()
    params = shapes(computed("pfenet", 2)[1])
    assert params.keys() >= {"projection/kernel", "support_projection/kernel"} and "memory" not in params


def whole_network(*recipe):
    _, model = small(*recipe)
    return model, {"params": parameters(model), **frozen_variables(model, random_variables("tiny"))}


SLOW_RECIPES = [pytest.param(f"ablations:{name}", marks=pytest.mark.slow) for name in ("mmm_2_and_3", "attention")]


@pytest.mark.parametrize("recipe", ["ablations:fcm_only", "pfenet", *SLOW_RECIPES])
def test_a_support_encoded_once_equals_whole_episodes(recipe):
    model, variables = whole_network(recipe, (1.0,))
    assert_trees_close(*segment_both_ways(model, variables, partial(jax.jit(model.apply), variables), 2))


@pytest.mark.parametrize(("side", "nearest"), [(472, "465 and 473"), (8, "9 and 17"), (34, "33 and 41")])
def test_an_unsupported_image_size_is_refused_with_the_nearest_two(side, nearest):
    model, variables = whole_network("pascal_1shot")
    with pytest.raises(ValueError, match=rf"images must be 8k \+ 1, but is {side}; the nearest are {nearest}"):
        jax.eval_shape(model.apply, variables, draw_episode(1, 1, side))
