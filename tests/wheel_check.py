"""Run by itself against an installed wheel, outside the checkout: a network is made from a config and applied."""

import importlib.resources

import jax
import jax.numpy as jnp

import configs
import mmnet_jax
from configs import coco_1shot
from mmnet_jax import Episode, create_model
from mmnet_jax.config import resolve
from mmnet_jax.reproduction.runs import config_argument, load_config
from mmnet_jax.reproduction.tables import TABLES

assert "site-packages" in mmnet_jax.__file__ and "site-packages" in configs.__file__, mmnet_jax.__file__
lists = importlib.resources.files("mmnet_jax.data") / "lists"
assert len((lists / "pascal5i_train.txt").read_text().split()) == 5953

for row in (row for table in TABLES.values() for row in table.rows):
    resolve(load_config(row.config))
    assert "site-packages" in config_argument(row.config)

config = coco_1shot.get_config()
config.model.random_backbone = True
config.data.image_size = 33
model, variables = create_model(config, seed=0)
image = jnp.zeros((1, 33, 33, 3))
label = jnp.zeros((1, 33, 33), jnp.int32).at[:, 8:24, 8:24].set(1)
prediction = jax.jit(model.apply)(variables, Episode(image, image[:, None], label[:, None]))
assert prediction.logits.shape == (1, 33, 33, 2) and bool(jnp.isfinite(prediction.logits).all())
print("the wheel works")
