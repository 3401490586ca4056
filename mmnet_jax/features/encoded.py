"""Images encoded once for many episodes: the features of an image that depend on no mask."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

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
        return NamedSharding(self.everywhere.mesh, PartitionSpec(*self.everywhere.mesh.axis_names))

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
    mid, high = networks.encoder.levels(model, variables["trained"], rows)
    encoded: Any = {name: model.apply(own, mid, method="encode_roles") for name, own in variables.items()}
    level3 = mid[..., : model.backbone.channels["level3"]] if model.mask_level3 else None
    images = jax.lax.with_sharding_constraint(EncodedImage(high, level3, encoded), networks.everywhere)
    return tuple(jax.tree.map(lambda x: x[i], images) for i in range(len(mid)))  # noqa: B023


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
