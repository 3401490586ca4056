"""PFENet, the baseline that MM-Net stands on: a prototype of the support instead of a memory."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmnet_jax import ops
from mmnet_jax.episode import Prediction, SupportState
from mmnet_jax.models.decoder import bin_sizes
from mmnet_jax.models.heads.spec import HeadSpec
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import FewShotNetwork

AREA = 0.0005
"""Added to the mask's area in a prototype."""


class Compared(NamedTuple):
    """In what query and support meet."""

    prototype: Float[Array, "b d"]
    weights: Float[Array, "b k"]
    """Of the shots in it."""
    confidence: Float[Array, "b h w"]


class PFENet(FewShotNetwork):
    """PFENet (Tian et al., TPAMI 2020), with MM-Net's backbone, prior, decoder and losses.

    At each scale the decoder sees the query's projected features, averaged, the support's prototype at every position,
    and the prior (the foreground confidence map).
    """

    def setup(self) -> None:
        super().setup()
        self.projection = convolution(self.channels, self.projection_kernel)
        if not self.projection_shared:
            self.support_projection = convolution(self.channels, self.projection_kernel)

    def describe_query(self, mid: Float[Array, "b h w m"], train: bool) -> Float[Array, "b h w d"]:
        return self._project(mid, self.projection, train)

    def describe_support(
        self, mid: Float[Array, "n h w m"], high: Float[Array, "n h w c"], mask: Float[Array, "n h w"], train: bool
    ) -> SupportState:
        projection = self.projection if self.projection_shared else self.support_projection
        prototype = ops.masked_average(self._project(mid, projection, train), mask, AREA)
        return SupportState(high, mask, prototype=prototype)

    def compare(
        self, query: Float[Array, "b h w d"], query_high: Float[Array, "b h w c"], state: SupportState
    ) -> Compared:
        """The prototype of all shots, and the confidence map."""
        has_foreground = jnp.any(state.mask > 0, axis=(2, 3))
        counts = has_foreground | ~jnp.any(has_foreground, axis=1, keepdims=True)
        weights = counts / jnp.sum(counts, axis=1, keepdims=True)
        assert state.prototype is not None
        prototype = jnp.sum(state.prototype * weights[..., None], axis=1)
        return Compared(prototype, weights, self._confidence(query_high, state))

    def predict(
        self,
        query: Float[Array, "b h w d"],
        state: SupportState,
        compared: Compared,
        size: tuple[int, ...],
        train: bool,
    ) -> Prediction:
        batch, *grid, channels = query.shape
        inputs = []
        with jax.named_scope("fem"):
            for side in bin_sizes(self.bins, grid[0]):
                everywhere = jnp.broadcast_to(compared.prototype[:, None, None], (batch, side, side, channels))
                prior = ops.resize_bilinear(compared.confidence[..., None], side)
                pooled = ops.adaptive_average_pool(query, side)
                inputs.append(jnp.concatenate([pooled, everywhere, prior], axis=-1))
            logits, auxiliary = self._decode_bins(inputs, tuple(grid), size, train)
        nothing = jnp.zeros((batch, *grid, 0))
        return Prediction(
            logits=logits,
            activations=nothing,
            fused=nothing,
            confidence=compared.confidence,
            shot_weights=jnp.broadcast_to(compared.weights[..., None, None], (*compared.weights.shape, *grid)),
            auxiliary_logits=auxiliary,
            query_memory_logits=(),
            support_memory_logits=(),
        )


SPEC = HeadSpec(
    title="PFENet",
    build=lambda settings, shared: PFENet(**shared),
    presets={
        "model.projection_kernel": 1,
        "model.projection_shared": False,
        "model.support_level4": "masked_twice",
    },
)
