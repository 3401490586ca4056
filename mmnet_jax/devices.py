"""The mesh of devices that share a batch, and its two shardings."""

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from mmnet_jax.errors import UserError, first_of


def data_mesh(batch_size: int) -> Mesh:
    """A one-axis mesh ``data`` over the most devices that divide the batch.

    Raises a ``UserError`` if several processes leave devices idle.
    """
    count, processes = jax.device_count(), jax.process_count()
    if processes > 1 and batch_size % count:
        raise UserError(
            f"training.batch_size = {batch_size} cannot be split over the {count} devices of {processes} processes: "
            f"make it a multiple of {count}, or start fewer processes."
        )
    count = max(n for n in range(1, count + 1) if batch_size % n == 0)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def shardings(mesh: Mesh | AbstractMesh) -> tuple[NamedSharding, NamedSharding]:
    """Two shardings: replicated on every device, and split over the devices by the first axis."""
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


def describe_devices(mesh: Mesh) -> str:
    """The devices as text, such as ``8 NVIDIA H100 device(s)``, and the names of idle devices."""
    idle = [str(device) for device in jax.devices() if device not in mesh.devices]
    text = f"{mesh.size} {jax.devices()[0].device_kind} device(s)"
    return text + f", since more do not divide the batch (idle: {first_of(idle, 4)})" * bool(idle)
