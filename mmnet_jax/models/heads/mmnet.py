"""MM-Net: meta-class memory, activation propagation, confidence and quality around a frozen backbone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mmnet_jax import ops
from mmnet_jax.episode import Prediction, SupportState
from mmnet_jax.models.backbones.convolution import max_pool_3x3
from mmnet_jax.models.decoder import bin_sizes
from mmnet_jax.models.heads.spec import HeadSpec
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import FewShotNetwork, split_shots
from mmnet_jax.models.settings import NetworkSettings


class Branch(NamedTuple):
    """One projection of some images with its memory, and what APM compares and carries."""

    projected: Float[Array, "n h w d"]
    """F, after ReLU and dropout."""
    nodes: Float[Array, "n h w v"]
    """F . M before the sigmoid (eq. 1); F itself without a memory."""


class Compared(NamedTuple):
    """In what query and support meet."""

    fused: Float[Array, "b h w v"]
    weights: Float[Array, "b k h w"]
    confidence: Float[Array, "b h w"]


class MMNet(FewShotNetwork):
    """MM-Net (ICCV 2021), and the variants of it that the paper's tables compare.

    What the fields choose is told in ``mmnet_jax/config/fields.py``.
    """

    memory_size: int = 50
    nodes: str = "memory"
    levels: str = "2+3"
    cosine_on: str = "activations"
    propagation: str = "apm"
    shot_mask: str = "own"
    quality_module: str = "qmm"
    quality_normalise: str = "none"
    fem_input: str = "both"

    def setup(self) -> None:
        super().setup()
        for name in self._branches:
            if self.nodes == "memory":
                memory = self.param(f"memory{name}", nn.initializers.normal(1.0), (self.memory_size, self.channels))
                setattr(self, f"memory{name}", memory)
            setattr(self, f"projection{name}", convolution(self.channels, self.projection_kernel))
            if not self.projection_shared:
                setattr(self, f"support_projection{name}", convolution(self.channels, self.projection_kernel))
        if self._attends:
            self.attention_hidden = convolution(self.channels, 3)
            self.attention_score = convolution(1, 3)

    @property
    def _branches(self) -> dict[str, slice]:
        """What the names of each branch's parameters end in, and the channels it sees of levels 3 and 2."""
        if self.fem_input == "confidence":
            return {}
        level3 = self.backbone.channels["level3"]
        apart = {"_level2": slice(level3, None), "_level3": slice(level3)}
        alone = {"2+3": slice(None), "2": apart["_level2"], "3": apart["_level3"]}
        return apart if self.levels == "2,3" else {"": alone[self.levels]}

    @property
    def _attends(self) -> bool:
        return bool(self._branches) and self.quality_module == "attention"

    def describe_query(self, mid: Float[Array, "b h w m"], train: bool) -> tuple[Branch, ...]:
        return self._describe(mid, "projection", train)

    def describe_support(
        self, mid: Float[Array, "n h w m"], high: Float[Array, "n h w c"], mask: Float[Array, "n h w"], train: bool
    ) -> SupportState:
        branches = self._describe(mid, "projection" if self.projection_shared else "support_projection", train)
        projected = tuple(branch.projected for branch in branches) if self._attends else ()
        return SupportState(high, mask, nodes=tuple(branch.nodes for branch in branches), projected=projected)

    def _describe(self, mid: Array, projection: str, train: bool) -> tuple[Branch, ...]:
        branches = []
        with jax.named_scope("memory"):
            for name, channels in self._branches.items():
                projected = self._project(mid[..., channels], getattr(self, f"{projection}{name}"), train)
                with_memory = self.nodes == "memory"
                nodes = ops.memory_logits(projected, getattr(self, f"memory{name}")) if with_memory else projected
                branches.append(Branch(projected, nodes))
        return tuple(branches)

    def compare(self, query: tuple[Branch, ...], query_high: Float[Array, "b h w c"], state: SupportState) -> Compared:
        """Fused activations, shot weights and confidence."""
        masks = jnp.broadcast_to(state.mask[:, -1:], state.mask.shape) if self.shot_mask == "last" else state.mask
        # a shot without foreground of its own has no say, whichever mask it was seen through
        has_foreground = jnp.any(state.mask > 0, axis=(2, 3))
        attention = self._attention(query, state) if self._attends else jnp.zeros(state.mask.shape[:2])
        fused, weights = [], []
        for branch, support_nodes in zip(query, state.nodes, strict=True):
            values, quality = self._carry_over(branch.nodes, support_nodes, masks)
            with jax.named_scope("quality"):
                if self.quality_module != "qmm":
                    quality = jnp.broadcast_to(attention[:, :, None, None], quality.shape)
                elif self.quality_normalise == "mean":
                    area = jnp.sum(masks, axis=(2, 3))
                    quality = quality / jnp.where(area > 0, area, 1)[:, :, None, None]
                maps = self._activate(branch.nodes)[:, None] * values
                by_branch = ops.fuse_shots(maps, quality, has_foreground)
            fused.append(by_branch[0])
            weights.append(by_branch[1])
        if not fused:
            nothing = jnp.zeros((*masks.shape[:2], *query_high.shape[1:3], 0))
            no_maps, even = ops.fuse_shots(nothing, nothing.sum(-1), has_foreground)
            fused, weights = [no_maps], [even]
        mean_weights = jnp.mean(jnp.stack(weights), axis=0)
        return Compared(jnp.concatenate(fused, axis=-1), mean_weights, self._confidence(query_high, state))

    def _carry_over(
        self, query_nodes: Float[Array, "b h w n"], support_nodes: Float[Array, "b k h w n"], masks: Array
    ) -> tuple[Float[Array, "b k _ _ n"], Float[Array, "b k h w"]]:
        """What each query position receives from each shot, and the quality of the shot there."""
        values = self._activate(support_nodes)
        on_logits = self.cosine_on == "logits"
        compared = (query_nodes if on_logits else self._activate(query_nodes), support_nodes if on_logits else values)
        with jax.named_scope("propagation"):
            by_shot = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (compared[1], values, masks))
            carried, quality = jax.lax.map(lambda shot: ops.propagate(compared[0], *shot), by_shot)
            carried, quality = jnp.moveaxis(carried, 0, 1), jnp.moveaxis(quality, 0, 1)
            if self.propagation == "global":
                carried = ops.masked_average(values, masks)[:, :, None, None]
        return carried, quality

    def _activate(self, nodes: Array) -> Array:
        """What is carried and multiplied: Act of eq. 1, or the features themselves."""
        return nn.sigmoid(nodes) if self.nodes == "memory" else nodes

    def _attention(self, query: tuple[Branch, ...], state: SupportState) -> Float[Array, "b k"]:
        """One number a shot from what query and support look like side by side (CANet's way)."""
        with jax.named_scope("attention"):
            supports = jnp.concatenate(state.projected, axis=-1)
            queries = jnp.concatenate([branch.projected for branch in query], axis=-1)
            queries = jnp.broadcast_to(queries[:, None], (*supports.shape[:2], *queries.shape[1:]))
            pair = jnp.concatenate([queries, supports], axis=-1)
            x = nn.relu(self.attention_hidden(pair.reshape(-1, *pair.shape[2:])))
            x = self.attention_score(max_pool_3x3(x))
            return split_shots(jnp.mean(x, axis=(1, 2, 3)), len(supports))

    def predict(
        self,
        query: tuple[Branch, ...],
        state: SupportState,
        compared: Compared,
        size: tuple[int, ...],
        train: bool,
    ) -> Prediction:
        grid = compared.confidence.shape[1:3]
        seen = [compared.fused] if self.fem_input != "confidence" else []
        seen += [compared.confidence[..., None]] if self.fem_input != "activations" else []
        decoded = jnp.concatenate(seen, axis=-1)
        with jax.named_scope("fem"):
            inputs = [ops.resize_bilinear(decoded, side) for side in bin_sizes(self.bins, grid[0])]
            logits, auxiliary = self._decode_bins(inputs, grid, size, train)
        activations = [self._activate(branch.nodes) for branch in query]
        with_memory = self.nodes == "memory"
        return Prediction(
            logits=logits,
            activations=jnp.concatenate(activations, axis=-1) if activations else compared.fused,
            fused=compared.fused,
            confidence=compared.confidence,
            shot_weights=compared.weights,
            auxiliary_logits=auxiliary,
            query_memory_logits=tuple(branch.nodes for branch in query) if with_memory else (),
            support_memory_logits=state.nodes if with_memory else (),
        )


OWN_FIELDS = (
    "model.nodes",
    "model.levels",
    "model.propagation",
    "model.fem_input",
    "model.cosine_on",
    "model.shot_mask",
    "quality.module",
    "quality.normalise",
)


def build(settings: NetworkSettings, shared: dict[str, Any]) -> MMNet:
    """The network that the settings describe."""
    return MMNet(
        **shared,
        memory_size=settings.memory_size,
        nodes=settings.nodes,
        levels=settings.levels,
        cosine_on=settings.cosine_on,
        propagation=settings.propagation,
        shot_mask=settings.shot_mask,
        quality_module=settings.quality,
        quality_normalise=settings.quality_normalise,
        fem_input=settings.fem_input,
    )


SPEC = HeadSpec(
    title="MM-Net",
    build=build,
    own_fields=OWN_FIELDS,
    bypass=("model.fem_input", "confidence"),
    has_memory=lambda settings: settings.nodes == "memory" and settings.fem_input != "confidence",
)
