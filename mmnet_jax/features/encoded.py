"""Images encoded once for many episodes: the features of an image that depend on no mask."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from mmnet_jax.devices import shardings
from mmnet_jax.features.resident import free_memory
from mmnet_jax.features.source import Encoder
from mmnet_jax.models.network import FewShotNetwork

SHARE = 0.5
"""Fraction of the free memory that features take where ``evaluation.cache_gb`` is None."""


@struct.dataclass
class Networks:
    """Heads on one frozen backbone, and the encoder of their images; the tensors are on every device of a mesh."""

    model: FewShotNetwork = struct.field(pytree_node=False)
    encoder: Encoder = struct.field(pytree_node=False)
    everywhere: NamedSharding = struct.field(pytree_node=False)
    """Sharding of arrays that each device holds whole."""
    frozen: dict[str, Any]
    """The collections ``backbone`` and ``batch_stats``."""
    heads: dict[str, Any]
    """The ``params`` of each head, ``trained`` among them."""

    @property
    def by_row(self) -> NamedSharding:
        """Sharding of arrays that are split over the devices by their first axis."""
        return shardings(self.everywhere.mesh)[1]

    def variables(self) -> dict[str, dict[str, Any]]:
        """The variables of ``model`` for each head."""
        return {name: {**self.frozen, "params": params} for name, params in self.heads.items()}


@struct.dataclass
class EncodedImage:
    """Features of one image; of several with further axes in front."""

    high: Float[Array, "*b h w c"]
    """Level 4."""
    level3: Float[Array, "*b h w c3"] | None
    """None unless the network takes level 4 of masked level-3 features."""
    heads: dict[str, tuple[Any, ...]]
    """The result of ``FewShotNetwork.encode_roles`` for each head."""


@jax.jit
def encode_images(networks: Networks, rows: Any) -> tuple[EncodedImage, ...]:
    """The features of images by their rows (see ``Source.row``), on every device."""
    model, variables = networks.model, networks.variables()
    images = encode_levels(model, variables, *networks.encoder.levels(model, variables["trained"], rows))
    images = jax.lax.with_sharding_constraint(images, networks.everywhere)
    return tuple(jax.tree.map(lambda x: x[i], images) for i in range(len(images.high)))  # noqa: B023


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


def image_capacity(image: EncodedImage, cache_gb: float | None, everywhere: NamedSharding) -> tuple[int, int]:
    """The number of such images that each device may keep, the same in all processes, and the bytes of one."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(image))
    room = SHARE * min(map(free_memory, everywhere.addressable_devices)) if cache_gb is None else 1e9 * cache_gb
    capacity = min(int(room / size), np.iinfo(np.int32).max)
    return int(np.min(multihost_utils.process_allgather(np.int32(capacity)))), size


def stack_images(sets: tuple[tuple[EncodedImage, ...], ...]) -> tuple[EncodedImage, EncodedImage]:
    """The queries, which come first in each set, and the supports with axes B and K in front."""

    def stack(images: Any) -> EncodedImage:
        return jax.tree.map(lambda *x: jnp.stack(x), *images)

    return stack([query for query, *_ in sets]), stack([stack(supports) for _, *supports in sets])
