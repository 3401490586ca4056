"""Configs: an ``ml_collections.ConfigDict`` whose fields ``fields`` declares.

``get_config`` gives the defaults, recipes and the command line (``--config.fold=2``) change some, and ``resolve`` fills
the open fields, checks all of them and returns the config that a run is made with and stores.
"""

from ml_collections import ConfigDict

from mmnet_jax.config.fields import FIELDS, FREE_FIELDS, READING_FIELDS, READINGS
from mmnet_jax.config.recipes import Row, apply, load_recipe, pick, recipe_rows, shipped_recipes
from mmnet_jax.config.resolution import differences, from_dict, get_config, get_field, has_memory, resolve, set_field
