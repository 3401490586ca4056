"""Temporary memory at 473 px, as XLA reports it: no operation holds a matrix over all pairs of positions."""

import jax
import jax.numpy as jnp
import pytest

from mmnet_jax import ops

pytestmark = pytest.mark.usefixtures("optimised")


def shape(*sides):
    return jax.ShapeDtypeStruct(sides, jnp.float32)


def gradient(function):
    return jax.grad(lambda *a: sum(jnp.sum(x) for x in jax.tree.leaves(function(*a))), (0, 1))


GRID, MASK = shape(1, 60, 60, 50), shape(1, 60, 60)
HIGH = shape(1, 60, 60, 2048), shape(1, 1, 60, 60, 2048), shape(1, 1, 60, 60)


@pytest.mark.parametrize(
    ("function", "arguments", "megabytes"),
    [
        (ops.propagate, (GRID, GRID, GRID, MASK), 45),
        (gradient(ops.propagate), (GRID, GRID, GRID, MASK), 80),
        (ops.reconstruction_loss, (GRID, GRID), 45),
        (gradient(ops.reconstruction_loss), (GRID, GRID), 80),
        (ops.foreground_confidence, HIGH, 130),
    ],
    ids=["propagate", "propagate gradient", "reconstruction", "reconstruction gradient", "confidence"],
)
def test_temporaries_stay_below_the_limit(function, arguments, megabytes):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    compiled = jax.jit(function, in_shardings=device).lower(*arguments).compile()
    assert 0 < compiled.memory_analysis().temp_size_in_bytes <= megabytes * 10**6
