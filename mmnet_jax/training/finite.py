"""A training that has left the numbers says so, and at which step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mmnet_jax.errors import UserError
from mmnet_jax.training.state import TrainState


def finite_mean(pending: Sequence[Mapping[str, Array]], step: int, saved: int | None) -> dict[str, float]:
    """The mean of each term of a loss over the last steps.

    Args:
      pending: the terms of the steps up to ``step`` that have not been looked at yet.
      step: the last of them.
      saved: step of the newest checkpoint.

    Raises:
      UserError: naming the first step whose loss is not finite, and of the newest checkpoint.
    """
    names = pending[0].keys()
    values = np.asarray(jax.device_get([list(terms.values()) for terms in pending]), np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        first = step - len(values) + 1 + int(broken[0])
        terms = ", ".join(f"{name} {value:g}" for name, value in zip(names, values[broken[0]], strict=True))
        raise UserError(f"the loss of step {first} is not finite ({terms}); {_newest(saved)}.")
    return dict(zip(names, values.mean(axis=0).tolist(), strict=True))


def refuse_broken(state: TrainState, step: int, saved: int | None) -> None:
    """Raises a ``UserError`` if the update of ``step``, whose loss was finite, left parameters that are not."""
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state.params, state.batch_stats))):
        raise UserError(f"the parameters after step {step} are not finite; {_newest(saved)}.")


def _newest(saved: int | None) -> str:
    return "there is no checkpoint yet" if saved is None else f"the newest checkpoint is of step {saved}"
