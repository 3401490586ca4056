"""MM-Net: meta-class memory, activation propagation, confidence and quality around a frozen backbone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Int

from mmnet_jax import ops
from mmnet_jax.episode import Episode, Prediction, SupportState
from mmnet_jax.models.fem import FeatureEnrichment, bin_sizes
from mmnet_jax.models.layers import channel_dropout, convolution


@struct.dataclass
class Features:
    """All that the head needs of an episode's images: what a frozen backbone makes of them, and the masks."""

    query_mid: Float[Array, "b h w m"]
    """Levels 3 and 2, side by side."""
    query_high: Float[Array, "b h w c"]
    """Level 4."""
    support_mid: Float[Array, "b k h w m"]
    support_high: Float[Array, "b k h w c"]
    """Level 4 of the support; made from masked level-3 features where the reading says so."""
    support_mask: Float[Array, "b k h w"]
    """Foreground on the grid, in [0, 1]."""


class MMNet(nn.Module):
    """MM-Net (ICCV 2021). Trained parameters are in ``params``, the frozen backbone's in ``backbone``.

    ``apply(variables, episode)`` gives a ``Prediction``; ``encode_support`` and ``segment`` split the same work, so
    that a support set is paid for once; ``extract`` and ``decode`` split it at the frozen backbone.
    """

    backbone: nn.Module
    memory_size: int = 50
    channels: int = 256
    bins: tuple[float, ...] = (60, 30, 15, 8)
    dropout: float = 0.5
    projection_kernel: int = 3
    projection_shared: bool = True
    cosine_on: str = "activations"
    support_level4: str = "masked"
    shot_mask: str = "own"
    batch_norm: str = "frozen"
    quality_normalise: str = "none"
    confidence_dtype: Any = jnp.float32
    one_by_one: bool = False
    """Run the backbone image by image: XLA's CPU convolutions slow down faster than the batch grows."""

    def setup(self) -> None:
        self.memory = self.param("memory", nn.initializers.normal(1.0), (self.memory_size, self.channels))
        self.projection = convolution(self.channels, self.projection_kernel)
        if not self.projection_shared:
            self.support_projection = convolution(self.channels, self.projection_kernel)
        self.projection_dropout = channel_dropout(self.dropout)
        self.fem = FeatureEnrichment(self.channels)

    def __call__(self, episode: Episode, train: bool = False) -> Prediction:
        """Segments the query of each episode.

        Args:
          episode: images of side S with (S - 1) % 8 == 0.
          train: dropout on (takes a ``dropout`` rng) and, under ``batch_norm="batch"``, each call's own statistics
            (``batch_stats`` is then to be mutable).
        """
        return self.decode(self.extract(episode, train), episode.query_image.shape[1:3], train)

    def extract(self, episode: Episode, train: bool = False) -> Features:
        """The backbone's part: features of query and supports, without gradient."""
        batch, shots, height, width, _ = episode.support_images.shape
        masks = self._grid_masks(episode.support_labels.reshape(batch * shots, height, width))
        supports = episode.support_images.reshape(batch * shots, height, width, 3)
        before_stage4 = masks if self.support_level4 == "masked_twice" else None
        if train and self.batch_norm == "batch":
            query_mid, query_high = self._levels(episode.query_image, None, batch_statistics=True)
            shot_masks = None if before_stage4 is None else split_shots(before_stage4, batch)
            by_shot = [
                self._levels(
                    episode.support_images[:, k],
                    None if shot_masks is None else shot_masks[:, k],
                    batch_statistics=True,
                )
                for k in range(shots)
            ]
            support_mid = jnp.stack([mid for mid, _ in by_shot], axis=1)
            support_high = jnp.stack([high for _, high in by_shot], axis=1)
        else:
            images = jnp.concatenate([episode.query_image, supports])
            if before_stage4 is not None:
                before_stage4 = jnp.concatenate([jnp.ones((batch, *masks.shape[1:])), before_stage4])
            mid, high = self._levels(images, before_stage4)
            query_mid, query_high = mid[:batch], high[:batch]
            support_mid, support_high = split_shots(mid[batch:], batch), split_shots(high[batch:], batch)
        features = Features(query_mid, query_high, support_mid, support_high, split_shots(masks, batch))
        return jax.lax.stop_gradient(features)

    def decode(self, features: Features, size: tuple[int, ...], train: bool = False) -> Prediction:
        """The trained part: from features to logits at ``size`` (height, width)."""
        query_logits = self._memory_logits(features.query_mid, self.projection, train)
        batch = query_logits.shape[0]
        support_mid = features.support_mid.reshape(-1, *features.support_mid.shape[2:])
        support_logits = split_shots(self._memory_logits(support_mid, self._support_projection, train), batch)
        state = SupportState(support_logits, features.support_high, features.support_mask)
        compared = self._compare(query_logits, features.query_high, state)
        return self._predict(query_logits, support_logits, compared, size, train)

    def encode_support(self, images: Float[Array, "k s s 3"], labels: Int[Array, "k s s"]) -> SupportState:
        """What ``segment`` needs of one support set."""
        masks = self._grid_masks(labels)
        mid, high = self._levels(images, masks if self.support_level4 == "masked_twice" else None)
        return SupportState(self._memory_logits(mid, self._support_projection), high, masks)

    def segment(self, queries: Float[Array, "q s s 3"], state: SupportState) -> Prediction:
        """Segments any number of queries with one support set."""
        mid, high = self._levels(queries, None)
        logits = self._memory_logits(mid, self.projection)
        one_set = jax.tree.map(lambda x: x[None], state)

        def compare(query_logits: Array, query_high: Array) -> tuple[Array, Array, Array]:
            return jax.tree.map(lambda x: x[0], self._compare(query_logits[None], query_high[None], one_set))

        compared = jax.vmap(compare)(logits, high)
        support_logits = jnp.broadcast_to(state.memory_logits[None], (len(queries), *state.memory_logits.shape))
        return self._predict(logits, support_logits, compared, queries.shape[1:3])

    @property
    def _support_projection(self) -> nn.Module:
        return self.projection if self.projection_shared else self.support_projection

    def _grid_masks(self, labels: Int[Array, "n s s"]) -> Float[Array, "n h w"]:
        foreground = (labels == 1).astype(jnp.float32)[..., None]
        return ops.resize_bilinear(foreground, self.backbone.grid(labels.shape[1]))[..., 0]

    def _levels(
        self, images: Float[Array, "n s s 3"], masks: Float[Array, "n h w"] | None, batch_statistics: bool = False
    ) -> tuple[Float[Array, "n h w m"], Float[Array, "n h w c"]]:
        """Levels 3 and 2 side by side, and level 4 of (level 3 * masks)."""

        def run(backbone: nn.Module, images: Array, masks: Array | None) -> tuple[Array, Array]:
            with jax.named_scope("backbone"):
                level2, level3 = backbone.mid_levels(images, batch_statistics=batch_statistics)
                masked = level3 if masks is None else level3 * masks[..., None]
                level4 = backbone.high_level(masked, batch_statistics=batch_statistics)
            return jnp.concatenate([level3, level2], axis=-1), level4

        if batch_statistics or self.is_initializing() or not self.one_by_one:
            return run(self.backbone, images, masks)
        backbone, variables = self.backbone.unbind()

        def run_one(one: tuple[Array, Array | None]) -> tuple[Array, Array]:
            levels = nn.apply(run, backbone)(variables, *jax.tree.map(lambda x: x[None], one))
            return jax.tree.map(lambda x: x[0], levels)

        return jax.lax.map(run_one, (images, masks))

    def _memory_logits(self, mid: Array, projection: nn.Module, train: bool = False) -> Float[Array, "n h w m"]:
        with jax.named_scope("memory"):
            projected = self.projection_dropout(nn.relu(projection(mid)), deterministic=not train)
            return ops.memory_logits(projected, self.memory)

    def _compare(
        self, query_logits: Float[Array, "b h w n"], query_high: Float[Array, "b h w c"], state: SupportState
    ) -> tuple[Float[Array, "b h w n"], Float[Array, "b k h w"], Float[Array, "b h w"]]:
        """Fused activations, shot weights and confidence: all in which query and support meet."""
        activations, support_activations = nn.sigmoid(query_logits), nn.sigmoid(state.memory_logits)
        on_logits = self.cosine_on == "logits"
        query_nodes = query_logits if on_logits else activations
        support_nodes = state.memory_logits if on_logits else support_activations
        masks = jnp.broadcast_to(state.mask[:, -1:], state.mask.shape) if self.shot_mask == "last" else state.mask

        with jax.named_scope("propagation"):
            by_shot = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (support_nodes, support_activations, masks))
            values, quality = jax.lax.map(lambda shot: ops.propagate(query_nodes, *shot), by_shot)
            values, quality = jnp.moveaxis(values, 0, 1), jnp.moveaxis(quality, 0, 1)
        with jax.named_scope("quality"):
            if self.quality_normalise == "mean":
                area = jnp.sum(masks, axis=(2, 3))
                quality = quality / jnp.where(area > 0, area, 1)[:, :, None, None]
            # a shot without foreground of its own has no say, whichever mask it was seen through
            has_foreground = jnp.any(state.mask > 0, axis=(2, 3))
            fused, weights = ops.fuse_shots(activations[:, None] * values, quality, has_foreground)
        with jax.named_scope("confidence"):
            confidence = ops.foreground_confidence(query_high, state.high_level, state.mask, self.confidence_dtype)
        return fused, weights, confidence

    def _predict(
        self,
        query_logits: Float[Array, "b h w n"],
        support_logits: Float[Array, "b k h w n"],
        compared: tuple[Array, Array, Array],
        size: tuple[int, ...],
        train: bool = False,
    ) -> Prediction:
        fused, weights, confidence = compared
        grid = fused.shape[1:3]
        decoded = jnp.concatenate([fused, confidence[..., None]], axis=-1)
        with jax.named_scope("fem"):
            inputs = [ops.resize_bilinear(decoded, side) for side in bin_sizes(self.bins, grid[0])]
            logits, auxiliary = self.fem(inputs, grid, train)
        return Prediction(
            logits=ops.resize_bilinear(logits, size),
            activations=nn.sigmoid(query_logits),
            fused=fused,
            confidence=confidence,
            shot_weights=weights,
            auxiliary_logits=auxiliary,
            query_memory_logits=query_logits,
            support_memory_logits=support_logits,
        )


def split_shots(x: Float[Array, "bk ..."], batch: int) -> Float[Array, "b k ..."]:
    """``[B * K, ...]`` to ``[B, K, ...]``."""
    return x.reshape(batch, -1, *x.shape[1:])
