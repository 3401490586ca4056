"""No operation may hold a matrix of all pairs of positions: temporary memory as XLA reports it, at 473 px."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mmnet_jax import ops

pytestmark = pytest.mark.usefixtures("optimised")

MEGABYTE = 10**6


def temporary_megabytes(function, *arguments) -> float:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    compiled = jax.jit(function, in_shardings=device).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes / MEGABYTE


def shape(*sides):
    return jax.ShapeDtypeStruct(sides, jnp.float32)


GRID = shape(1, 60, 60, 50)
MASK = shape(1, 60, 60)


def total(function):
    return lambda *a: sum(jnp.sum(x) for x in jax.tree.leaves(function(*a)))


@pytest.mark.parametrize(
    ("function", "arguments", "limit"),
    [
        (ops.propagate, (GRID, GRID, GRID, MASK), 45),
        (jax.grad(total(ops.propagate), (0, 1)), (GRID, GRID, GRID, MASK), 80),
        (ops.reconstruction_loss, (GRID, GRID), 45),
        (jax.grad(total(ops.reconstruction_loss), (0, 1)), (GRID, GRID), 80),
        (ops.foreground_confidence, (shape(1, 60, 60, 2048), shape(1, 1, 60, 60, 2048), shape(1, 1, 60, 60)), 130),
    ],
    ids=["propagate", "propagate gradient", "reconstruction", "reconstruction gradient", "confidence"],
)
def test_temporaries_stay_below_the_limit(function, arguments, limit):
    used = temporary_megabytes(function, *arguments)
    assert 0 < used <= limit
