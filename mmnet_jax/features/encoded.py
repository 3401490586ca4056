"""Images encoded once for many episodes: the features of an image that depend on no mask."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from mmnet_jax.features.resident import free_memory
from mmnet_jax.features.source import Encoder
from mmnet_jax.models.network import FewShotNetwork

SHARE = 0.5
"""Of the free memory, where ``evaluation.cache_gb`` is open."""


@struct.dataclass
class EncodedImage:
    """Features of one image; of several with further axes in front."""

    high: Float[Array, "*b h w c"]
    """Level 4."""
    level3: Float[Array, "*b h w c3"] | None
    """Only where the network takes level 4 of masked level-3 features."""
    heads: dict[str, tuple[Any, ...]]
    """By the head's name what ``FewShotNetwork.encode_roles`` gives."""


@functools.partial(jax.jit, static_argnames=("model", "encoder", "everywhere"))
def encode_images(
    model: FewShotNetwork,
    encoder: Encoder,
    everywhere: NamedSharding,
    frozen: dict[str, Any],
    heads: dict[str, Any],
    rows: Any,
) -> tuple[EncodedImage, ...]:
    """The features of some images by their rows, see ``Source.row``, on every device of ``everywhere``.

    ``frozen`` holds the collections ``backbone`` and ``batch_stats``, ``heads`` the ``params`` by name.
    """
    variables = {name: {**frozen, "params": params} for name, params in heads.items()}
    mid, high = encoder.levels(model, next(iter(variables.values())), rows)
    encoded: Any = {name: model.apply(own, mid, method="encode_roles") for name, own in variables.items()}
    level3 = mid[..., : model.backbone.channels["level3"]] if model.mask_level3 else None
    images = jax.lax.with_sharding_constraint(EncodedImage(high, level3, encoded), everywhere)
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
