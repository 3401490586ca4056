"""Configs: an ``ml_collections.ConfigDict`` with the fields that ``fields`` declares.

``get_config`` returns the defaults, recipes and the command line (``--config.fold=2``) set some fields, and ``resolve``
fills the unset ones (None) and checks all: a run uses and stores the resolved config.
"""

from ml_collections import ConfigDict

from mmnet_jax.config.fields import FIELDS, FREE_FIELDS, READING_FIELDS, READINGS
from mmnet_jax.config.recipes import Row, apply, load_recipe, pick, recipe_rows, shipped_recipes
from mmnet_jax.config.resolution import differences, from_dict, get_config, get_field, has_memory, resolve, set_field
