"""The parts of MM-Net that the paper's ablations and the released code replace, and the settings that choose them."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax import ops
from mmnet_jax.models.backbones.convolution import max_pool_3x3
from mmnet_jax.models.heads.mmnet import Branch, Encoded, Masks, MMNet, MMNetSupport, propagate_activations
from mmnet_jax.models.heads.spec import HeadSpec, NetworkSettings
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import split_shots


def average_foreground(
    query: Float[Array, "b h w n"],
    support: Float[Array, "b k h w n"],
    values: Float[Array, "b k h w v"],
    masks: Masks,
    product_dtype: DTypeLike,
) -> tuple[Float[Array, "b k 1 1 v"], Masks]:
    """The support's masked average, the same at every query position ("Global"), with the quality of eq. 9."""
    _, quality = propagate_activations(query, support, values, masks, product_dtype)
    return ops.masked_average(values, masks)[:, :, None, None], quality


def last_mask(masks: Masks) -> Masks:
    """The last shot's mask for every shot, as in the released code."""
    return jnp.broadcast_to(masks[:, -1:], masks.shape)


def mean_quality(quality: Masks, masks: Masks) -> Masks:
    """p_q (eq. 9) divided by the area of the mask."""
    area = jnp.sum(masks, axis=(2, 3))
    return quality / jnp.where(area > 0, area, 1)[:, :, None, None]


def equal_quality(quality: Masks, masks: Masks) -> Masks:
    """Equal weights: the fused maps are averaged."""
    return jnp.zeros_like(quality)


class AttentionMMNet(MMNet):
    """Weights shots by attention over the concatenated features of query and support, as in CANet, instead of eq. 9."""

    KEEPS_FEATURES: ClassVar[bool] = True

    def setup(self) -> None:
        super().setup()
        self.attention_hidden = convolution(self.channels, 3, self.dtype)
        self.attention_score = convolution(1, 3, self.dtype)

    def weigher(self, query: tuple[Encoded, ...], state: MMNetSupport, masks: Masks) -> Callable[[Array], Array]:
        with jax.named_scope("attention"):
            supports = jnp.concatenate(state.projected, axis=-1)
            queries = jnp.concatenate([branch.projected for branch in query if branch.projected is not None], axis=-1)
            queries = jnp.broadcast_to(queries[:, None], (*supports.shape[:2], *queries.shape[1:]))
            pair = jnp.concatenate([queries, supports], axis=-1)
            x = nn.relu(self.attention_hidden(pair.reshape(-1, *pair.shape[2:])))
            x = self.attention_score(max_pool_3x3(x))
            scores = split_shots(jnp.mean(x.astype(jnp.float32), axis=(1, 2, 3)), len(supports))
        return lambda quality: jnp.broadcast_to(scores[:, :, None, None], quality.shape)


def build(settings: NetworkSettings, shared: dict[str, Any]) -> MMNet:
    """MM-Net with the parts that the settings name; ``shared`` holds the fields that all heads share."""
    level3 = shared["backbone"].channels["level3"]
    branches = {
        "2+3": (Branch(),),
        "2": (Branch(start=level3),),
        "3": (Branch(stop=level3),),
        "2,3": (Branch("_level2", start=level3), Branch("_level3", stop=level3)),
    }
    quality = {"none": MMNet.shot_quality, "mean": mean_quality}[settings.quality_normalise]
    decoder_inputs = {"both": ("fused", "confidence"), "confidence": ("confidence",), "activations": ("fused",)}
    return (AttentionMMNet if settings.quality == "attention" else MMNet)(
        **shared,
        memory_size=settings.memory_size if settings.nodes == "memory" else None,
        # a decoder that sees the confidence map alone needs no memory
        branches=() if settings.fem_input == "confidence" else branches[settings.levels],
        cosine_on_logits=settings.cosine_on == "logits",
        propagate={"apm": propagate_activations, "global": average_foreground}[settings.propagation],
        shot_masks={"own": MMNet.shot_masks, "last": last_mask}[settings.shot_mask],
        shot_quality=equal_quality if settings.quality == "mean" else quality,
        decoder_inputs=decoder_inputs[settings.fem_input],
    )


MODEL_FIELDS = ("nodes", "levels", "propagation", "fem_input", "cosine_on", "shot_mask")
SPEC = HeadSpec(
    title="MM-Net",
    build=build,
    own_fields=(*(f"model.{name}" for name in MODEL_FIELDS), "quality.module", "quality.normalise"),
    bypass=("model.fem_input", "confidence"),
    has_memory=lambda settings: settings.nodes == "memory" and settings.fem_input != "confidence",
)
