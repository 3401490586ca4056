"""The registry of heads."""

from mmnet_jax.models.heads import pfenet, variants
from mmnet_jax.models.heads.spec import HeadSpec

HEADS: dict[str, HeadSpec] = {"mmnet": variants.SPEC, "pfenet": pfenet.SPEC}
"""Heads by their name in ``model.network``."""
