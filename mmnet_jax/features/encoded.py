"""Images of a split encoded once for many episodes, as far as the memory allows."""

from typing import Any

import jax
import numpy as np
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from mmnet_jax.devices import shardings
from mmnet_jax.features.resident import free_memory
from mmnet_jax.features.source import Encoder
from mmnet_jax.models.encoded import EncodedImage, encode_levels
from mmnet_jax.models.network import FewShotNetwork

CACHE_FRACTION = 0.5
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


@jax.jit
def encode_images(networks: Networks, rows: Any) -> tuple[EncodedImage, ...]:
    """The features of images by their rows (see ``Source.row``), on every device."""
    model, variables = networks.model, networks.variables()
    images = encode_levels(model, variables, *networks.encoder.levels(model, variables["trained"], rows))
    images = jax.lax.with_sharding_constraint(images, networks.everywhere)
    return tuple(jax.tree.map(lambda x: x[i], images) for i in range(len(images.high)))  # noqa: B023


def image_capacity(image: EncodedImage, cache_gb: float | None, everywhere: NamedSharding) -> tuple[int, int]:
    """The number of such images that each device may keep, the same in all processes, and the bytes of one."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(image))
    room = (
        CACHE_FRACTION * min(map(free_memory, everywhere.addressable_devices)) if cache_gb is None else 1e9 * cache_gb
    )
    capacity = min(int(room / size), np.iinfo(np.int32).max)
    return int(np.min(multihost_utils.process_allgather(np.int32(capacity)))), size
