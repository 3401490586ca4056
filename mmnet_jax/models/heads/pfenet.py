"""PFENet, the baseline that MM-Net extends: a prototype of the support instead of a memory."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from mmnet_jax import ops
from mmnet_jax.episode import Prediction, SupportState
from mmnet_jax.models.heads.spec import HeadSpec
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import FewShotNetwork, Role, Size


@struct.dataclass
class PFENetSupport(SupportState):
    """An encoded support set: the average of F over each mask."""

    prototype: Float[Array, "*b k d"]


class PFENet(FewShotNetwork):
    """PFENet (Tian et al., TPAMI 2020), with MM-Net's backbone, prior, decoder and losses.

    The decoder's input at each scale is the average-pooled projected features of the query, the support's prototype at
    every position, and the prior.
    """

    def setup(self) -> None:
        super().setup()
        self.projection = convolution(self.channels, self.projection_kernel, self.dtype)
        if not self.projection_shared:
            self.support_projection = convolution(self.channels, self.projection_kernel, self.dtype)

    def encode(self, mid: Array, role: Role, train: bool) -> Array:
        own = self.projection if self.projection_shared or role == "query" else self.support_projection
        return self._project(mid, own, train)

    def support_state(self, encoded: Array, high: Array, mask: Array) -> PFENetSupport:
        added_area = 0.0005
        return PFENetSupport(high, mask, ops.masked_average(encoded.astype(jnp.float32), mask, added_area))

    def match(self, query: Array, query_high: Array, state: PFENetSupport) -> tuple[Array, Array]:
        """The mean of the prototypes of the shots with foreground, and the confidence map (eq. 8)."""
        has_foreground = jnp.any(state.mask > 0, axis=(2, 3))
        counts = (has_foreground | ~jnp.any(has_foreground, axis=1, keepdims=True)).astype(jnp.float32)
        weights = counts / jnp.sum(counts, axis=1, keepdims=True)
        prototype = jnp.sum(state.prototype * weights[..., None], axis=1)
        return prototype, self._confidence(query_high, state)

    def predict(
        self, query: Array, state: PFENetSupport, matched: tuple[Array, Array], size: Size, train: bool
    ) -> Prediction:
        query = query.astype(jnp.float32)  # averages are float32
        batch, *grid, channels = query.shape
        prototype, confidence = matched

        def input_at(side: int) -> Float[Array, "b side side c"]:
            everywhere = jnp.broadcast_to(prototype[:, None, None], (batch, side, side, channels))
            prior = ops.resize_bilinear(confidence[..., None], side)
            return jnp.concatenate([ops.adaptive_average_pool(query, side), everywhere, prior], axis=-1)

        return Prediction(*self._decode_bins(input_at, tuple(grid), size, train), confidence)


SPEC = HeadSpec(
    title="PFENet",
    build=lambda settings, shared: PFENet(**shared),
    # only batch normalisation follows the reading
    presets={"model.projection_kernel": 1, "model.projection_shared": False, "model.support_level4": "masked_twice"},
)
