"""Checks an installed wheel, outside the checkout: every recipe loads and a network runs."""

import importlib.metadata

import jax
import jax.numpy as jnp

import mmnet_jax
from mmnet_jax import Episode, create_model
from mmnet_jax.config import load_recipe, resolve, shipped_recipes
from mmnet_jax.config.recipes import find_recipe

assert "site-packages" in mmnet_jax.__file__, mmnet_jax.__file__
assert importlib.metadata.version("mmnet-jax") == mmnet_jax.__version__

references = [reference for reference, _ in shipped_recipes()]
assert len(references) > 40 and "mmnet_jax/configs" in find_recipe("coco_1shot").as_posix()
for reference in references:
    resolve(load_recipe(reference))

config = load_recipe("coco_1shot")
config.model.random_backbone = True
config.data.image_size = 33
model, variables = create_model(config, seed=0)
image = jnp.zeros((1, 33, 33, 3))
label = jnp.zeros((1, 33, 33), jnp.int32).at[:, 8:24, 8:24].set(1)
prediction = jax.jit(model.apply)(variables, Episode(image, image[:, None], label[:, None]))
assert prediction.logits.shape == (1, 33, 33, 2) and bool(jnp.isfinite(prediction.logits).all())
print("the wheel works")
