"""Evaluation, which encodes each image once, against the network applied to every episode."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax import create_model
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.transforms.evaluation import test_transform as fit_episodes  # pytest would collect it
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.evaluation.pixel_counts import count_pixels, predicted_foreground
from mmnet_jax.evaluation.runner import evaluate
from mmnet_jax.models.registry import init_head
from tests.evaluation.conftest import make_split
from tests.training.tiny_training import tiny_config, tiny_dataset

NETWORKS = {  # reading, shots, fields
    "own projections, level 4 masked twice": ("released", 2, {}),
    "attention": ("paper", 2, {}),
    "two memories": ("paper", 1, {"levels": "2,3"}),
    "PFENet": ("paper", 2, {"network": "pfenet", "projection_shared": False, "support_level4": "masked_twice"}),
}


@pytest.mark.parametrize("name", [n if n == "PFENet" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_counts_are_those_of_the_network_applied_to_every_episode(name):
    reading, shots, fields = NETWORKS[name]
    config = tiny_config(reading)
    dataset = dataclasses.replace(tiny_dataset(), test=make_split("val", 3 * [6, 7, 8], 1))
    config.shots = shots
    config.model.update(fields)
    if "network" in fields:
        config.loss.reconstruction_on = "none"
    config.quality.module = "attention" if name == "attention" else config.quality.module
    model, variables = create_model(config)
    manifest = configured_manifest(dataset, config, episodes=11)
    masks = {}
    result = evaluate(model, variables, config, dataset, manifest, baselines=True, save_mask=masks.__setitem__)
    raw = jax.tree.map(jnp.asarray, load_episodes(dataset.test, manifest.specs(dataset)))

    @jax.jit
    def count(params):
        prediction = model.apply({**variables, "params": params}, fit_episodes(raw, config.data.image_size))
        labels = raw.labels[:, 0]
        predicted = predicted_foreground(prediction.logits, raw.sizes[:, 0].max(-1), labels.shape[-1])
        return count_pixels(predicted, labels), predicted

    for ours, params in ((result, variables["params"]), (result.baselines["untrained"], init_head(model, config.seed))):
        counts, predicted = count(params)
        np.testing.assert_array_equal(ours.intersection, counts.intersection)
        np.testing.assert_array_equal(ours.union, counts.union)
        if ours is result:
            for i, mask in masks.items():
                np.testing.assert_array_equal(mask, predicted[i][: mask.shape[0], : mask.shape[1]])
    assert len(masks) == 11
