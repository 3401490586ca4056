"""MM-Net: meta-class memory, activation propagation, confidence and quality; ``variants`` has its ablations."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn, struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mmnet_jax import ops
from mmnet_jax.episode import Prediction, SupportState
from mmnet_jax.losses import Objective
from mmnet_jax.models.layers import convolution
from mmnet_jax.models.network import FewShotNetwork, Role, Size, join_shots, split_shots

Masks = Float[Array, "b k h w"]


@dataclasses.dataclass(frozen=True)
class Branch:
    """A projection and its memory, on channels ``start`` to ``stop`` of the concatenated levels 3 and 2."""

    suffix: str = ""
    """Suffix of the names of its parameters."""
    start: int = 0
    stop: int | None = None


class Encoded(NamedTuple):
    """One branch's encoding of images."""

    nodes: Float[Array, "*n h w v"]
    """F . M (eq. 1), with F after ReLU and dropout; F itself without a memory."""
    projected: Float[Array, "*n h w d"] | None
    """F, if attention weights the shots."""


@struct.dataclass
class MMNetSupport(SupportState):
    """An encoded support set: one array for each branch; ``projected`` is empty unless attention weights the shots."""

    nodes: tuple[Float[Array, "*b k h w v"], ...] = ()
    projected: tuple[Float[Array, "*b k h w d"], ...] = ()


@struct.dataclass
class MMNetPrediction(Prediction):
    """Logits and the intermediate maps of MM-Net's modules."""

    activations: Float[Array, "b h w v"] | None = None
    """The query's meta-class activations, Act_Q of eq. 1, in (0, 1), concatenated over memories; the projected features
    if there is no memory."""
    fused: Float[Array, "b h w v"] | None = None
    """Activations after APM and QMM (eq. 5, eq. 9)."""
    shot_weights: Float[Array, "b k h w"] | None = None
    """QMM's weight of each shot at each query position (eq. 9); they sum to 1 over the shots."""
    query_memory_logits: tuple[Float[Array, "b h w n"], ...] = ()
    """F_Q . M before the sigmoid, for the reconstruction loss; one array for each memory."""
    support_memory_logits: tuple[Float[Array, "b k h w n"], ...] = ()
    """F_S . M before the sigmoid, for the same purpose."""
    product_dtype: DTypeLike = struct.field(pytree_node=False, default=jnp.float32)
    """Type of the factors of products in the reconstruction loss."""

    def own_losses(self, objective: Objective) -> dict[str, tuple[float, Float[Array, ""]]]:
        """The memory reconstruction loss (eq. 10, eq. 11, eq. 12), summed over memories, query and support."""
        total = jnp.zeros((), jnp.float32)
        if objective.reconstruction_on in ("support", "both"):
            for logits in self.support_memory_logits:
                shots = logits[:, :1] if objective.reconstruction_shots == "first" else logits
                images = shots.reshape(-1, *shots.shape[2:])
                on_logits = objective.reconstruction_softmax_on == "logits"
                total += self._reconstruction(images, images if on_logits else jax.nn.sigmoid(images))
        if objective.reconstruction_on in ("query", "both"):
            for logits in self.query_memory_logits:
                # in both readings the query's softmax is on its activations
                total += self._reconstruction(logits, jax.nn.sigmoid(logits))
        return {"reconstruction": (objective.reconstruction, total)}

    def _reconstruction(self, logits: Array, scores: Array) -> Float[Array, ""]:
        return jnp.mean(ops.reconstruction_loss(logits, jax.nn.softmax(scores, axis=-1), self.product_dtype))


def propagate_activations(
    query: Float[Array, "b h w n"],
    support: Float[Array, "b k h w n"],
    values: Float[Array, "b k h w v"],
    masks: Masks,
    product_dtype: DTypeLike,
) -> tuple[Float[Array, "b k _ _ v"], Masks]:
    """APM (eq. 2, eq. 3, eq. 4) of each shot: v_q at each query position, and the quality p_q of the shot (eq. 9)."""
    queries = jnp.repeat(query, support.shape[1], axis=0)
    nodes, carried, mask = (join_shots(x) for x in (support, values, masks))
    received = ops.propagate(queries, nodes, carried, mask, product_dtype)
    return split_shots(received.values, len(query)), split_shots(received.quality, len(query))


class MMNet(FewShotNetwork):
    """MM-Net (ICCV 2021)."""

    memory_size: int | None = 50
    """``None``: APM matches and propagates the projected features ("FCM + Feat")."""
    branches: tuple[Branch, ...] = (Branch(),)
    cosine_on_logits: bool = False
    """APM and QMM compare F . M before the sigmoid instead of activations."""
    propagate: Callable[..., tuple[Array, Array]] = propagate_activations
    shot_masks: Callable[[Array], Array] = lambda masks: masks
    """Maps the shots' masks to the masks that APM and QMM use; in the paper, each shot's own."""
    shot_quality: Callable[[Array, Array], Array] = lambda quality, masks: quality
    """Maps p_q (eq. 9) and the masks to the input of the softmax over the shots."""
    decoder_inputs: tuple[str, ...] = ("fused", "confidence")

    KEEPS_FEATURES: ClassVar[bool] = False
    """Whether ``weigher`` needs F."""

    def setup(self) -> None:
        super().setup()
        for branch in self.branches:
            if self.memory_size is not None:
                name, shape = f"memory{branch.suffix}", (self.memory_size, self.channels)
                setattr(self, name, self.param(name, nn.initializers.normal(1.0), shape, jnp.float32))
            for prefix in ("", "support_")[: 1 if self.projection_shared else 2]:
                projection = convolution(self.channels, self.projection_kernel, self.dtype)
                setattr(self, f"{prefix}projection{branch.suffix}", projection)

    def activate(self, nodes: Array) -> Array:
        """Act, the sigmoid of the nodes (eq. 1)."""
        return nodes if self.memory_size is None else nn.sigmoid(nodes)

    def encode(self, mid: Array, role: Role, train: bool) -> tuple[Encoded, ...]:
        """The encoding of images by each branch."""
        prefix = "" if self.projection_shared or role == "query" else "support_"
        encoded = []
        with jax.named_scope("memory"):
            for branch in self.branches:
                projection = getattr(self, f"{prefix}projection{branch.suffix}")
                projected = self._project(mid[..., branch.start : branch.stop], projection, train)
                if self.memory_size is None:
                    nodes = projected.astype(jnp.float32)
                else:
                    nodes = ops.memory_logits(projected, getattr(self, f"memory{branch.suffix}"), self.dtype)
                encoded.append(Encoded(nodes, projected if self.KEEPS_FEATURES else None))
        return tuple(encoded)

    def support_state(self, encoded: tuple[Encoded, ...], high: Array, mask: Array) -> MMNetSupport:
        projected = tuple(branch.projected for branch in encoded if branch.projected is not None)
        return MMNetSupport(high, mask, tuple(branch.nodes for branch in encoded), projected)

    def match(self, query: tuple[Encoded, ...], query_high: Array, state: MMNetSupport) -> dict[str, Array]:
        """The fused maps h'_q = h_q * v_q (element-wise, eq. 5), averaged over the shots by quality (eq. 9), with the
        weights of the shots and the confidence map (eq. 8)."""
        masks = self.shot_masks(state.mask)
        # by the shot's own mask, whichever mask APM and QMM use
        has_foreground = jnp.any(state.mask > 0, axis=(2, 3))
        weigh = self.weigher(query, state, masks)
        by_branch = []
        for branch, support in zip(query, state.nodes, strict=True):
            values = self.activate(support)
            nodes = (branch.nodes, support) if self.cosine_on_logits else (self.activate(branch.nodes), values)
            with jax.named_scope("propagation"):
                received, quality = self.propagate(*nodes, values, masks, self.dtype)
            with jax.named_scope("quality"):
                maps = self.activate(branch.nodes)[:, None] * received
                by_branch.append(ops.fuse_shots(maps, weigh(quality), has_foreground))
        if not by_branch:
            nothing = jnp.zeros((*masks.shape[:2], *query_high.shape[1:3], 0), jnp.float32)
            by_branch.append(ops.fuse_shots(nothing, nothing.sum(-1), has_foreground))
        fused, weights = zip(*by_branch, strict=True)
        return {
            "fused": jnp.concatenate(fused, axis=-1),
            "shot_weights": jnp.mean(jnp.stack(weights), axis=0),
            "confidence": self._confidence(query_high, state),
        }

    def weigher(self, query: tuple[Encoded, ...], state: MMNetSupport, masks: Masks) -> Callable[[Array], Array]:
        """A function from p_q to the input of the softmax over the shots, the same for every branch."""
        return lambda quality: self.shot_quality(quality, masks)

    def predict(
        self, query: tuple[Encoded, ...], state: MMNetSupport, matched: dict[str, Array], size: Size, train: bool
    ) -> MMNetPrediction:
        maps = matched | {"confidence": matched["confidence"][..., None]}
        decoded = jnp.concatenate([maps[name] for name in self.decoder_inputs], axis=-1)
        inputs_at = partial(ops.resize_bilinear, decoded)
        logits, auxiliary = self._decode_bins(inputs_at, decoded.shape[1:3], size, train)
        nodes = tuple(branch.nodes for branch in query)
        memory = self.memory_size is not None
        return MMNetPrediction(
            logits,
            auxiliary,
            activations=jnp.concatenate(list(map(self.activate, nodes)) or [matched["fused"]], axis=-1),
            query_memory_logits=nodes if memory else (),
            support_memory_logits=state.nodes if memory else (),
            product_dtype=self.dtype,
            **matched,
        )
