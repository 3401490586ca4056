"""Every configuration of ``configs``, with the size of what it trains: the page ``docs/configs.md``."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
from ml_collections import ConfigDict

import configs
from mmnet_jax.config import from_dict, resolve
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.reproduction.runs import load_config

HEAD = """# Configurations

A configuration is a file of `configs/`, and where a file holds several, a name after a colon:
`python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=DIR`. Any field can be changed on the
command line, as in `--config.fold=2`; `mmnet_jax/config.py` tells what each means. Counted are the trained parameters;
the backbone is frozen. Written by `python scripts/reproduce.py --list`.
"""


def listing() -> str:
    """The page."""
    lines = [HEAD, "| configuration | trained parameters | what it is |", "| --- | ---: | --- |"]
    for reference, about in references():
        module, colon, name = reference.partition(":")
        config = load_config(reference)
        count = "the backbone's" if config.pretraining.dataset == "imagenet2012" else f"{parameters(config):,}"
        lines.append(f"| `{module}.py{colon}{name}` | {count} | {about} |")
    return "\n".join(lines) + "\n"


def references() -> Iterator[tuple[str, str]]:
    """Every configuration, as a table's row names it, with a line that says what it is."""
    for found in sorted(pkgutil.iter_modules(configs.__path__), key=lambda found: found.name):
        module = importlib.import_module(f"configs.{found.name}")
        if hasattr(module, "ROWS"):
            yield from ((f"{found.name}:{name}", row.about) for name, row in module.ROWS.items())
        elif hasattr(module, "get_config"):
            yield found.name, str(module.__doc__).splitlines()[0].rstrip(".")


def parameters(config: ConfigDict) -> int:
    """How many numbers a training changes, not counting a backbone that is pretrained before."""
    resolved = resolve(config)
    fields = {"reading": resolved.reading, "model": resolved.model.to_dict(), "quality": resolved.quality.to_dict()}
    if resolved.model.network == "pfenet" or resolved.loss.reconstruction_on == "none":
        fields["loss"] = {"reconstruction_on": "none"}
    return _parameters(json.dumps(fields | {"data": {"image_size": resolved.data.image_size}}))


@cache
def _parameters(fields: str) -> int:
    model = build_model(resolve(from_dict(json.loads(fields))))
    shapes: Any = jax.eval_shape(lambda: init_head(model, 0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
