"""A training set in device memory: batches are gathered there, and the host sends only positions."""

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
from mmnet_jax.features.source import Encoder, Source
from mmnet_jax.labels import IGNORE


@struct.dataclass
class Positions:
    """B episodes of K shots as positions of images; the query comes first."""

    images: Int32[AnyArray, "b n"]
    values: Int32[AnyArray, "b n"]
    """The value of the episode's class in each image's stored mask, see ``Split.stored_value``."""


@struct.dataclass
class Images:
    """One image, or all images of a split with an axis n in front."""

    rows: Any
    """The result of ``Source.row``."""
    masks: UInt8[AnyArray, "*n m m"]
    """Masks as stored, in the top left corner of a square, 255 elsewhere."""
    sizes: Int32[AnyArray, "*n 2"]
    """Height and width."""


def resident(source: Source, split: Split, everywhere: NamedSharding, say: Say) -> Source:
    """The source with all images of its split in the memory of every device.

    ``everywhere`` is the sharding of arrays that each device holds whole.

    Raises:
      UserError: the images do not fit, or one is damaged.
    """

    def one(i: int) -> Images:
        mask = split.read_mask(i)
        return Images(source.row(i), padded(mask, split.max_side, IGNORE), np.array(mask.shape, np.int32))

    first = one(0)
    needed = len(split) * sum(leaf.nbytes for leaf in jax.tree.leaves(first))
    if needed > (free := min(map(free_memory, everywhere.addressable_devices))):
        raise UserError(
            f"data.resident keeps {byte_size(needed)} in the memory of each device, which has {byte_size(free)} free; "
            "set it to False, and images are read for each batch."
        )
    empty = lambda: jax.tree.map(lambda x: jnp.zeros((len(split), *x.shape), x.dtype), first)  # noqa: E731
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
        return _gather(images, on_devices(batch, sharding), source.encoder, sharding)

    return source._replace(load=load, place=place)


@functools.partial(jax.jit, donate_argnums=0)
def _put(images: Images, image: Images, i: Int[AnyArray, ""] | int) -> Images:
    return jax.tree.map(lambda x, row: jax.lax.dynamic_update_index_in_dim(x, row, i, 0), images, image)


@functools.partial(jax.jit, static_argnames=("encoder", "sharding"))
def _gather(images: Images, batch: Positions, encoder: Encoder, sharding: Sharding) -> Any:
    taken = jax.tree.map(lambda x: x.at[batch.images].get(mode="promise_in_bounds"), images)
    here = taken.masks.astype(jnp.int32) == batch.values[..., None, None]
    labels = jnp.where(taken.masks == IGNORE, taken.masks, here.astype(jnp.uint8))
    return jax.lax.with_sharding_constraint(encoder.assemble(taken.rows, labels, taken.sizes), sharding)


def free_memory(device: jax.Device) -> int:
    """Bytes that a device can still allocate; CPU devices share the system's available memory."""
    if stats := device.memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"]
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 // jax.local_device_count()
