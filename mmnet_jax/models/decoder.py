"""The feature enrichment module (FEM), PFENet's multi-scale decoder."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax.models.layers import Classifier, Refinement, convolution
from mmnet_jax.ops import resize_bilinear


class FeatureEnrichment(nn.Module):
    """Decodes the matched maps at several scales, from each to the next, into final and auxiliary logits."""

    channels: int = 256
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Sequence[Float[Array, "b _ _ c"]], grid: tuple[int, ...], train: bool = False
    ) -> tuple[Float[Array, "b h w 2"], tuple[Float[Array, "b _ _ 2"], ...]]:
        """Final logits on the full grid, and those of each scale at its own size; ``train`` turns on dropout."""
        pyramid: list[Array] = []
        auxiliary: list[Array] = []
        for i, x in enumerate(inputs):
            t = nn.relu(convolution(self.channels, 1, self.dtype, f"merge_{i}")(x))
            if i:
                coarser = resize_bilinear(pyramid[-1], t.shape[1:3])
                alpha = convolution(self.channels, 1, self.dtype, f"alpha_{i}")
                t = nn.relu(alpha(jnp.concatenate([t, coarser], axis=-1))) + t
            t = Refinement(self.channels, self.dtype, name=f"beta_{i}")(t)
            auxiliary.append(Classifier(self.channels, self.dtype, name=f"classifier_{i}")(t, train))
            pyramid.append(resize_bilinear(t, grid))
        u = nn.relu(convolution(self.channels, 1, self.dtype, "merge")(jnp.concatenate(pyramid, axis=-1)))
        u = Refinement(self.channels, self.dtype, name="beta")(u)
        return Classifier(self.channels, self.dtype, name="classifier")(u, train), tuple(auxiliary)


def bin_sizes(bins: Sequence[float], grid: int) -> tuple[int, ...]:
    """The side of each scale for a grid side; a bin of at most 1 is a fraction of it, rounded down to at least 1."""
    return tuple(max(1, int(grid * b)) if b <= 1 else int(b) for b in bins)
