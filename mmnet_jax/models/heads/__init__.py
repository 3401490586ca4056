"""Heads, one file each, by name."""

from mmnet_jax.models.heads import pfenet, variants
from mmnet_jax.models.heads.spec import HeadSpec

HEADS: dict[str, HeadSpec] = {"mmnet": variants.SPEC, "pfenet": pfenet.SPEC}
"""By the value of ``model.network``."""
