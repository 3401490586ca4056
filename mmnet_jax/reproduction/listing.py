"""Every configuration of ``configs``, with the size of what it trains: the page ``docs/configs.md``."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import jax
from ml_collections import ConfigDict

from mmnet_jax.config import from_dict, load_recipe, resolve, shipped_recipes
from mmnet_jax.config.values import network_settings
from mmnet_jax.models.registry import build_model, init_head

HEAD = """# Configurations

A configuration is a file of `configs/`, and where a file holds several, a name after a colon:
`python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=DIR`. Any field can be changed on the
command line, as in `--config.fold=2`; `--help-config` lists them. The trained parameters are counted; the backbone is
frozen. Written by `python scripts/reproduce.py --list`.
"""


def listing() -> str:
    """The page."""
    lines = [HEAD, "| configuration | trained parameters | what it is |", "| --- | ---: | --- |"]
    for reference, about in shipped_recipes():
        module, colon, name = reference.partition(":")
        config = load_recipe(reference)
        count = "the backbone's" if config.pretraining.dataset == "imagenet2012" else f"{parameters(config):,}"
        lines.append(f"| `{module}.py{colon}{name}` | {count} | {about} |")
    return "\n".join(lines) + "\n"


def parameters(config: ConfigDict) -> int:
    """How many numbers a training changes, not counting a backbone that is pretrained before."""
    resolved = resolve(config)
    fields = {"reading": resolved.reading, "model": resolved.model.to_dict(), "quality": resolved.quality.to_dict()}
    if resolved.model.network == "pfenet" or resolved.loss.reconstruction_on == "none":
        fields["loss"] = {"reconstruction_on": "none"}
    return _parameters(json.dumps(fields | {"data": {"image_size": resolved.data.image_size}}))


@cache
def _parameters(fields: str) -> int:
    model = build_model(network_settings(resolve(from_dict(json.loads(fields)))))
    shapes: Any = jax.eval_shape(lambda: init_head(model, 0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
