"""A training set in device memory: batches are gathered there, and the host sends no more than positions."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import NamedSharding, Sharding
from jaxtyping import Int, Int32, UInt8

from mmnet_jax.cli.progress import Progress, Say, byte_size
from mmnet_jax.data.batches import on_devices, read_ahead
from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import AnyArray, padded
from mmnet_jax.errors import UserError
from mmnet_jax.features.source import Source
from mmnet_jax.labels import IGNORE


@struct.dataclass
class Positions:
    """B episodes of K shots by the positions of their images; the query comes first."""

    images: Int32[AnyArray, "b n"]
    values: Int32[AnyArray, "b n"]
    """Value of the episode's class in the stored mask of each image, see ``Split.stored_value``."""


@struct.dataclass
class Images:
    """One image, or all of a split with an axis n in front."""

    rows: Any
    """As ``Source.row`` gives them."""
    masks: UInt8[AnyArray, "*n m m"]
    """As stored, in the top left corner of a square, 255 elsewhere."""
    sizes: Int32[AnyArray, "*n 2"]
    """Height and width."""


def resident(source: Source, split: Split, everywhere: NamedSharding, say: Say) -> Source:
    """The same source with its split's images read now and kept in the memory of every device.

    ``everywhere`` is the sharding of what every device holds. A ``UserError`` tells the memory needed and what is free,
    where that is less, or names an image that is damaged.
    """

    def one(i: int) -> Images:
        mask = split.read_mask(i)
        return Images(source.row(i), padded(mask, split.max_side, IGNORE), np.array(mask.shape, np.int32))

    first = one(0)
    _refuse_without_room(len(split) * sum(leaf.nbytes for leaf in jax.tree.leaves(first)), everywhere)

    def empty() -> Images:
        return jax.tree.map(lambda x: jnp.zeros((len(split), *x.shape), x.dtype), first)

    images = jax.jit(empty, out_shardings=everywhere)()
    with Progress(f"{split.name} in device memory: image", len(split), "images", say) as progress:
        for i, image in enumerate(read_ahead(one, range(len(split)))):
            images = _put(images, on_devices(image, everywhere), i)
            progress.update(i + 1)

    def load(specs: Sequence[EpisodeSpec]) -> Positions:
        rows = [spec.images for spec in specs]
        values = [[split.stored_value(i, spec.class_id) for i in row] for spec, row in zip(specs, rows, strict=True)]
        return Positions(np.array(rows, np.int32), np.array(values, np.int32))

    def place(batch: Positions, sharding: Sharding) -> Any:
        return _gather(images, on_devices(batch, sharding), source.assemble, sharding)

    return source._replace(load=load, place=place)


@functools.partial(jax.jit, donate_argnums=0)
def _put(images: Images, image: Images, i: Int[AnyArray, ""] | int) -> Images:
    return jax.tree.map(lambda x, row: jax.lax.dynamic_update_index_in_dim(x, row, i, 0), images, image)


@functools.partial(jax.jit, static_argnames=("assemble", "sharding"))
def _gather(images: Images, batch: Positions, assemble: Any, sharding: Sharding) -> Any:
    taken = jax.tree.map(lambda x: x.at[batch.images].get(mode="promise_in_bounds"), images)
    here = taken.masks.astype(jnp.int32) == batch.values[..., None, None]
    labels = jnp.where(taken.masks == IGNORE, taken.masks, here.astype(jnp.uint8))
    return jax.lax.with_sharding_constraint(assemble(taken.rows, labels, taken.sizes), sharding)


def _refuse_without_room(needed: int, everywhere: NamedSharding) -> None:
    free = min(map(free_memory, everywhere.addressable_devices))
    if needed > free:
        raise UserError(
            f"data.resident keeps {byte_size(needed)} in the memory of each device, which has {byte_size(free)} free; "
            "set it to False, and images are read for each batch."
        )


def free_memory(device: jax.Device) -> int:
    """Bytes that a device can still allocate; the devices of a CPU share the system's available memory."""
    if stats := device.memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 // jax.local_device_count()
