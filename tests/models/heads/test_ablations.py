"""Each row of the paper's tables: what it changes in the parameters, and its outputs against NumPy."""

from __future__ import annotations

import zlib
from functools import cache, partial

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import Episode, losses
from mmnet_jax.config import differences, load_recipe, recipe_rows, resolve
from mmnet_jax.config.values import network_settings, objective
from mmnet_jax.models import Features
from mmnet_jax.models.backbones import random_variables
from mmnet_jax.models.registry import build_model, init_head, nest_backbone
from tests.models import numpy_network
from tests.tiny import draw_episode

GRID, SIZE, BINS, D = 5, 33, (5, 2), 12
LEVEL2, LEVEL3, LEVEL4 = 8, 12, 16  # the tiny backbone's channels
ABLATIONS = recipe_rows("ablations")
ROWS = {name: row for name, row in ABLATIONS.items() if row.fields.keys() - {"shots"}}

CHANGES = {  # of the parameters: path -> shape, None where it is gone
    "memory_20": {"memory": (20, D), "fem/merge_0/kernel": (1, 1, 21, D), "fem/merge_1/kernel": (1, 1, 21, D)},
    "memory_100": {"memory": (100, D), "fem/merge_0/kernel": (1, 1, 101, D), "fem/merge_1/kernel": (1, 1, 101, D)},
    "fcm_only": {
        "memory": None,
        "projection/kernel": None,
        "fem/merge_0/kernel": (1, 1, 1, D),
        "fem/merge_1/kernel": (1, 1, 1, D),
    },
    "fcm_feat": {"memory": None, "fem/merge_0/kernel": (1, 1, D + 1, D), "fem/merge_1/kernel": (1, 1, D + 1, D)},
    "mmm_2": {"projection/kernel": (3, 3, LEVEL2, D)},
    "mmm_3": {"projection/kernel": (3, 3, LEVEL3, D)},
    "mmm_2_and_3": {
        "memory": None,
        "projection/kernel": None,
        "memory_level2": (50, D),
        "memory_level3": (50, D),
        "projection_level2/kernel": (3, 3, LEVEL2, D),
        "projection_level3/kernel": (3, 3, LEVEL3, D),
        "fem/merge_0/kernel": (1, 1, 101, D),
        "fem/merge_1/kernel": (1, 1, 101, D),
    },
    "global": {},
    "reconstruction_none": {},
    "reconstruction_query": {},
    "reconstruction_both": {},
    "without_qmm": {},
    "attention": {"attention_hidden/kernel": (3, 3, 2 * D, D), "attention_score/kernel": (3, 3, D, 1)},
    "without_fcm": {"fem/merge_0/kernel": (1, 1, 50, D), "fem/merge_1/kernel": (1, 1, 50, D)},
}
SAME_CODE = {"memory_20", "memory_100", "mmm_2", "mmm_3", "reconstruction_none", "reconstruction_query", "fcm_only"}
"""Rows that run the code of others with other shapes, or have nothing to train but the decoder."""
LOSS_ALONE = {"reconstruction_none", "reconstruction_query", "reconstruction_both"}
NEEDS_SHOTS = {"without_qmm", "attention"}


def small(config):
    config.model.backbone = "tiny"
    config.model.channels = D
    config.model.bins = (1.0, 0.5)
    config.data.image_size = SIZE
    return resolve(config)


@cache
def inputs(shots):
    """Features of two episodes, with soft masks; in the second one a shot of several has no foreground."""
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
    """Numbers made from each tensor's name and shape, so that what two rows share is equal."""
    flat = flax.traverse_util.flatten_dict(jax.eval_shape(lambda: init_head(model, 0)), sep="/")
    drawn = {}
    for path, leaf in flat.items():
        scale = 0.3 if path.startswith("memory") or leaf.ndim == 1 else (2 / np.prod(leaf.shape[:-1])) ** 0.5
        normal = np.random.default_rng(zlib.crc32(path.encode())).standard_normal(leaf.shape)
        drawn[path] = jnp.asarray(scale * normal, jnp.float32)
    return flax.traverse_util.unflatten_dict(drawn, sep="/")


@partial(jax.jit, static_argnums=0)
def decode(model, params, features):
    """Compiled once for rows that differ in their losses alone."""
    return model.apply({"params": params}, features, (SIZE, SIZE), method="decode")


@cache
def computed(name, shots):
    """(config, parameters, prediction, losses) of a row, or of the default."""
    config = small(load_recipe(f"ablations:{name}"))
    model = build_model(network_settings(config))
    features, labels = inputs(shots)
    params = parameters(model)
    prediction = decode(model, params, features)
    terms = losses.compute_losses(prediction, jnp.asarray(labels), objective(config))
    return config, params, prediction, terms


def reference(config, params, shots, episode):
    features, _ = inputs(shots)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    parts = [np.asarray(x[episode], np.float64) for x in jax.tree.leaves(features)]
    if config.model.network == "pfenet":
        return numpy_network.pfenet(params, parts, SIZE, BINS)
    return numpy_network.mmnet(params, parts, config, LEVEL3, SIZE, BINS)


def shapes(params):
    return {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(params, sep="/").items()}


def test_every_row_that_differs_from_the_default_is_held_to_a_reference():
    assert CHANGES.keys() == ROWS.keys()
    assert len(ROWS) == 13 + 1  # the paper's, and level 2 alone
    assert len(ABLATIONS) == 19 + 1  # "with QMM" stands in two tables


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_differs_from_the_default_in_the_fields_it_names_alone(name):
    default, row = resolve(load_recipe("pascal_1shot")), resolve(load_recipe(f"ablations:{name}"))
    assert {line.split(":")[0] for line in differences(default, row)} == ABLATIONS[name].fields.keys()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shots", [1, 2])
def test_outputs_and_losses_equal_numpys(name, shots):
    config, params, prediction, terms = computed(name, shots)
    theirs = [reference(config, params, shots, episode) for episode in range(2)]
    for key, ours in {
        "logits": prediction.logits,
        "fused": prediction.fused,
        "weights": prediction.shot_weights,
        "confidence": prediction.confidence,
    }.items():
        expected = np.stack([each[key] for each in theirs])
        assert ours.shape == expected.shape
        if expected.size:
            np.testing.assert_allclose(
                ours, expected, rtol=0, atol=1e-4 * max(1e-3, np.abs(expected).max()), err_msg=key
            )
    for i, ours in enumerate(prediction.auxiliary_logits):
        expected = np.stack([each["auxiliary"][i] for each in theirs])
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(terms.reconstruction, np.mean([each["reconstruction"] for each in theirs]), rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in ROWS if name not in SAME_CODE])
def test_a_shot_without_foreground_leaves_gradients_finite(name):
    config, params, *_ = computed(name, 2)
    model, (features, labels) = build_model(network_settings(config)), inputs(2)
    decoder = {"fem": params["fem"]}  # its gradients have nothing to do with masks, and take the longest to compile

    def loss(others):
        prediction = decode.__wrapped__(model, others | decoder, features)
        return losses.compute_losses(prediction, jnp.asarray(labels), objective(config)).total

    gradients = jax.jit(jax.grad(loss))({name: value for name, value in params.items() if name != "fem"})
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", ROWS)
def test_the_named_part_alone_changes_the_parameters(name):
    default, row = shapes(computed("apm", 1)[1]), shapes(computed(name, 1)[1])
    changed = {path: row.get(path) for path in default.keys() | row.keys() if default.get(path) != row.get(path)}
    assert changed == CHANGES[name]


@pytest.mark.parametrize("name", ROWS)
def test_the_named_part_changes_what_comes_out(name):
    shots = 2 if name in NEEDS_SHOTS else 1
    (_, _, default, terms), (_, _, row, changed) = computed("apm", shots), computed(name, shots)
    if name in LOSS_ALONE:
        np.testing.assert_array_equal(row.logits, default.logits)
        assert abs(float(changed.reconstruction) - float(terms.reconstruction)) > 1e-4
    else:
        assert float(jnp.abs(row.logits - default.logits).max()) > 1e-3
    np.testing.assert_allclose(row.confidence, default.confidence, atol=1e-6)  # no row touches it


@pytest.mark.parametrize("name", ["fcm_only", "fcm_feat"])
def test_without_a_memory_there_is_no_reconstruction_loss(name):
    assert float(computed(name, 1)[3].reconstruction) == 0
    assert computed(name, 1)[2].support_memory_logits == ()


@pytest.mark.parametrize("shots", [1, 2])
def test_pfenet_equals_numpys(shots):
    config = small(load_recipe("pfenet"))
    model, (features, _) = build_model(network_settings(config)), inputs(shots)
    params = parameters(model)
    prediction = decode(model, params, features)
    for episode in range(2):
        expected = reference(config, params, shots, episode)
        scale = np.abs(expected["logits"]).max()
        np.testing.assert_allclose(prediction.logits[episode], expected["logits"], rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(prediction.confidence[episode], expected["confidence"], rtol=0, atol=1e-5)
    assert shapes(params).keys() >= {"projection/kernel", "support_projection/kernel"} and "memory" not in params


@pytest.mark.parametrize("name", ["mmm_2_and_3", "attention", "fcm_only", "pfenet"])
def test_a_support_encoded_once_gives_what_whole_episodes_give(name):
    config = load_recipe("pfenet") if name == "pfenet" else load_recipe(f"ablations:{name}")
    config = small(config)
    config.model.bins = (1.0,)
    model = build_model(network_settings(config))
    variables = {"params": parameters(model), **nest_backbone(random_variables("tiny"))}
    episode = draw_episode(1, 2, SIZE)
    queries = jax.random.normal(jax.random.key(9), (2, SIZE, SIZE, 3))

    @jax.jit
    def once(variables):
        support = episode.support_images[0], episode.support_labels[0]
        return model.apply(
            variables, queries, model.apply(variables, *support, method="encode_support"), method="segment"
        )

    repeat = lambda x: jnp.broadcast_to(x, (2, *x.shape[1:]))  # noqa: E731
    whole = Episode(queries, repeat(episode.support_images), repeat(episode.support_labels))
    expected = jax.jit(model.apply)(variables, whole)
    for ours, theirs in zip(jax.tree.leaves(once(variables)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * (1 + float(jnp.abs(theirs).max(initial=0))))


@pytest.mark.parametrize(("side", "nearest"), [(472, "465 and 473"), (8, "9 and 17"), (34, "33 and 41")])
def test_images_of_another_side_are_refused_with_the_nearest_two(side, nearest):
    model = build_model(network_settings(small(load_recipe("pascal_1shot"))))
    variables = {"params": parameters(model), **nest_backbone(random_variables("tiny"))}
    with pytest.raises(ValueError, match=rf"images must be 8k \+ 1, but is {side}; the nearest are {nearest}"):
        jax.eval_shape(model.apply, variables, draw_episode(1, 1, side))
