"""Images encoded once for many episodes: the features of an image that depend on no mask, and predictions from them."""

from collections.abc import Mapping
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


def decode_images(
    model: FewShotNetwork,
    variables: Mapping[str, Any],
    queries: EncodedImage,
    supports: EncodedImage,
    masks: Float[Array, "b k h w"],
    size: tuple[int, ...],
) -> dict[str, Any]:
    """Each head's prediction from the results of ``stack_images`` and the supports' foreground on the grid."""
    support_high: Any = supports.high
    if supports.level3 is not None:
        own: Any = next(iter(variables.values()))  # the backbone is that of all heads
        support_high = model.apply(own, supports.level3, masks, method="masked_high")

    def decode(head: str) -> Any:
        query, support = queries.heads[head][0], supports.heads[head][-1]
        encoded = query, queries.high, support, support_high, masks
        return model.apply(variables[head], *encoded, size, method="decode_encoded")

    return {head: decode(head) for head in variables}


def stack_images(sets: tuple[tuple[EncodedImage, ...], ...]) -> tuple[EncodedImage, EncodedImage]:
    """The queries, which come first in each set, and the supports with axes B and K in front."""

    def stack(images: Any) -> EncodedImage:
        return jax.tree.map(lambda *x: jnp.stack(x), *images)

    return stack([query for query, *_ in sets]), stack([stack(supports) for _, *supports in sets])
