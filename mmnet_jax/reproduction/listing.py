"""The page ``docs/configs.md``: every shipped recipe with its number of trained parameters."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import jax

from mmnet_jax.config import load_recipe, resolve, shipped_recipes
from mmnet_jax.config.values import network_settings
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.models.settings import NetworkSettings

HEAD = """# Configurations

A configuration is a file of `configs/`, and where a file holds several, a name after a colon:
`python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=DIR`. Any field can be changed on the
command line, as in `--config.fold=2`; `--help-config` lists them. The trained parameters are counted; the backbone is
frozen. Written by `python scripts/reproduce.py --list`.

| configuration | trained parameters | what it is |
| --- | ---: | --- |
"""


def listing() -> str:
    """The page."""
    page = HEAD
    for reference, about in shipped_recipes():
        module, colon, name = reference.partition(":")
        config = resolve(load_recipe(reference))
        of_backbone = config.pretraining.dataset == "imagenet2012"
        count = "the backbone's" if of_backbone else f"{parameters(network_settings(config)):,}"
        page += f"| `{module}.py{colon}{name}` | {count} | {about} |\n"
    return page


@cache
def parameters(settings: NetworkSettings) -> int:
    """Number of trained parameters of a network."""
    shapes: Any = jax.eval_shape(lambda: init_head(build_model(settings), 0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
