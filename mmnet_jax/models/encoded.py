"""Images encoded once for many episodes: the features of an image that depend on no mask, and predictions from them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from mmnet_jax.models.network import FewShotNetwork


@struct.dataclass
class EncodedImage:
    """Features of one image; of several with further axes in front."""

    high: Float[Array, "*b h w c"]
    """Level 4."""
    level3: Float[Array, "*b h w c3"] | None
    """None unless the network takes level 4 of masked level-3 features."""
    heads: dict[str, tuple[Any, ...]]
    """The result of ``FewShotNetwork.encode_roles`` for each head."""


def encode_levels(
    model: FewShotNetwork, variables: Mapping[str, Any], mid: Float[Array, "n h w m"], high: Float[Array, "n h w c"]
) -> EncodedImage:
    """The features of images from ``FewShotNetwork.levels``; ``variables`` holds the network's for each head."""
    level3 = mid[..., : model.backbone.channels["level3"]] if model.mask_level3 else None
    encoded: Any = {head: model.apply(own, mid, method="encode_roles") for head, own in variables.items()}
    return EncodedImage(high, level3, encoded)


def mask_supports(
    model: FewShotNetwork, variables: Mapping[str, Any], supports: EncodedImage, masks: Float[Array, "b k h w"]
) -> EncodedImage:
    """The supports with level 4 of masked level 3, where the network takes it; it depends on no query."""
    if supports.level3 is None:
        return supports
    own = next(iter(variables.values()))  # the backbone is that of all heads
    high: Any = model.apply(own, supports.level3, masks, method="masked_high")
    return dataclasses.replace(supports, high=high, level3=None)


def decode_images(
    model: FewShotNetwork,
    variables: Mapping[str, Any],
    queries: EncodedImage,
    supports: EncodedImage,
    masks: Float[Array, "b k h w"],
    size: tuple[int, ...],
) -> dict[str, Any]:
    """Each head's prediction from queries with axis B, supports with axes B and K, and the supports' foreground."""
    supports = mask_supports(model, variables, supports, masks)

    def decode(head: str) -> Any:
        query, support = queries.heads[head][0], supports.heads[head][-1]
        encoded = query, queries.high, support, supports.high, masks
        return model.apply(variables[head], *encoded, size, method="decode_encoded")

    return {head: decode(head) for head in variables}


def stack_images(images: Sequence[EncodedImage]) -> EncodedImage:
    """Images of one shape, stacked along a new first axis."""
    return jax.tree.map(lambda *x: jnp.stack(x), *images)
