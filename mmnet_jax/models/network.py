"""The base class of all heads: features of a frozen backbone, support sets encoded once, and the decoder."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn, struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from mmnet_jax import ops
from mmnet_jax.episode import Episode, Prediction, SupportState
from mmnet_jax.models.decoder import FeatureEnrichment, bin_sizes
from mmnet_jax.models.layers import channel_dropout

Size = tuple[int, ...]
"""Height and width."""
Role = Literal["query", "support"]
"""Role of an image in an episode; with a shared projection both are encoded alike."""


@struct.dataclass
class Features:
    """The input of the head: a frozen backbone's levels of an episode's images, and the support masks."""

    query_mid: Float[Array, "b h w m"]
    """Levels 3 and 2, concatenated over channels."""
    query_high: Float[Array, "b h w c"]
    """Level 4."""
    support_mid: Float[Array, "b k h w m"]
    support_high: Float[Array, "b k h w c"]
    """Level 4 of the support; with ``mask_level3`` computed from level 3 * mask."""
    support_mask: Float[Array, "b k h w"]
    """Foreground on the grid, in [0, 1]."""


class FewShotNetwork(nn.Module):
    """A head on a frozen backbone: parameters in ``params``, backbone tensors in ``backbone`` and ``batch_stats``.

    ``apply(variables, episode)`` returns a ``Prediction``. ``encode_support`` and ``segment`` split that computation so
    that a support set is encoded once; ``extract`` and ``decode`` split it after the frozen backbone.

    A head is a subclass with four methods: ``encode``, ``support_state``, ``match`` and ``predict``. ``encode`` takes
    no mask, so its result serves every episode that contains the image.
    """

    backbone: nn.Module
    channels: int = 256
    bins: tuple[float, ...] = (60, 30, 15, 8)
    dropout: float = 0.5
    projection_kernel: int = 3
    projection_shared: bool = True
    mask_level3: bool = False
    """Compute level 4 of the supports from level 3 * mask."""
    batch_statistics: bool = False
    """In training, normalise each backbone call by its own batch statistics."""
    dtype: DTypeLike = jnp.float32
    """Type of convolutions and of the factors of products over pairs of positions; all else is float32."""
    sequential: bool = False
    """Run the backbone image by image: the time of XLA's CPU convolutions grows faster than the batch."""

    def setup(self) -> None:
        self.projection_dropout = channel_dropout(self.dropout)
        self.fem = FeatureEnrichment(self.channels, self.dtype)

    def __call__(self, episode: Episode, train: bool = False) -> Prediction:
        """Segments the query of each episode.

        ``train`` turns on dropout, which needs a ``dropout`` rng, and, with ``batch_statistics``, batch statistics,
        which need ``batch_stats`` to be mutable.

        Raises:
          ValueError: the backbone does not support this image size.
        """
        return self.decode(self.extract(episode, train), episode.query_image.shape[1:3], train)

    def extract(self, episode: Episode, train: bool = False) -> Features:
        """The frozen part: features of query and supports, without gradient."""
        masks = self._grid_masks(episode.support_labels)
        batch, shots = masks.shape[:2]
        if train and self.batch_statistics:
            query = list(self.levels(episode.query_image, None, True))
            by_shot = [self.levels(episode.support_images[:, k], masks[:, k], True) for k in range(shots)]
            support = [jnp.stack(levels, axis=1) for levels in zip(*by_shot, strict=True)]
        else:
            images = jnp.concatenate([episode.query_image[:, None], episode.support_images], axis=1)
            with_query = jnp.concatenate([jnp.ones_like(masks[:, :1]), masks], axis=1)
            levels = self.levels(join_shots(images), join_shots(with_query))
            query, support = _split_roles([split_shots(x, batch) for x in levels])
        return jax.lax.stop_gradient(Features(query[0], query[1], support[0], support[1], masks))

    def decode(self, features: Features, size: Size, train: bool = False) -> Prediction:
        """The trained part: from features to logits at ``size`` (height, width)."""
        query_mid, support_mid = features.query_mid, features.support_mid
        if self.projection_shared:
            together = jnp.concatenate([query_mid[:, None], support_mid], axis=1)
            query, support = _split_roles(self._encode_sets(together, "query", train))
        else:
            query, support = self.encode(query_mid, "query", train), self._encode_sets(support_mid, "support", train)
        shots = features.support_high, features.support_mask
        return self.decode_encoded(query, features.query_high, support, *shots, size, train)

    def decode_encoded(
        self,
        query: Any,
        query_high: Float[Array, "b h w c"],
        support: Any,
        support_high: Float[Array, "b k h w c"],
        support_mask: Float[Array, "b k h w"],
        size: Size,
        train: bool = False,
    ) -> Prediction:
        """``decode`` from the results of ``encode`` for the queries and for the supports (leading axes B and K)."""
        state = self.support_state(support, support_high, support_mask)
        return self.predict(query, state, self.match(query, query_high, state), size, train)

    def levels(
        self,
        images: Float[Array, "n s s 3"],
        masks: Float[Array, "n h w"] | None = None,
        batch_statistics: bool = False,
    ) -> tuple[Float[Array, "n h w m"], Float[Array, "n h w c"]]:
        """The backbone's levels 3 and 2, concatenated over channels, and level 4 (see ``mask_level3``)."""
        self.backbone.check_side(images.shape[1])
        masks = masks if self.mask_level3 else None
        if batch_statistics:
            return mid_and_high(self.backbone, images, masks, batch_statistics)
        return self._run_backbone(mid_and_high, images, masks)

    def masked_high(
        self, level3: Float[Array, "b k h w c"], masks: Float[Array, "b k h w"]
    ) -> Float[Array, "b k h w c4"]:
        """Level 4 of (level 3 * masks)."""
        high = self._run_backbone(masked_high, join_shots(level3), join_shots(masks))
        return split_shots(high, len(masks))

    def encode_roles(self, mid: Float[Array, "n h w m"]) -> tuple[Any, ...]:
        """The result of ``encode`` for images as queries and, unless the projection is shared, as supports."""
        roles: tuple[Role, ...] = ("query",) if self.projection_shared else ("query", "support")
        return tuple(self.encode(mid, role, False) for role in roles)

    def encode_support(self, images: Float[Array, "k s s 3"], labels: Int[Array, "k s s"]) -> SupportState:
        """Encodes one support set for ``segment``."""
        masks = self._grid_masks(labels)
        mid, high = self.levels(images, masks)
        return self.support_state(self.encode(mid, "support", False), high, masks)

    def segment(self, queries: Float[Array, "q s s 3"], state: SupportState) -> Prediction:
        """Segments any number of queries with one support set."""
        mid, high = self.levels(queries)
        encoded = self.encode(mid, "query", False)
        one_set = jax.tree.map(lambda x: x[None], state)

        def match(query: Any, query_high: Array) -> Any:
            query, query_high = jax.tree.map(lambda x: x[None], (query, query_high))
            return jax.tree.map(lambda x: x[0], self.match(query, query_high, one_set))

        matched = jax.vmap(match)(encoded, high)
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(queries), *x.shape[1:])), one_set)
        return self.predict(encoded, repeated, matched, queries.shape[1:3], False)

    def encode(self, mid: Float[Array, "n h w m"], role: Role, train: bool) -> Any:
        """The head's encoding of N images; ``role`` selects the projection unless that is shared."""
        raise NotImplementedError

    def support_state(
        self, encoded: Any, high: Float[Array, "*b k h w c"], mask: Float[Array, "*b k h w"]
    ) -> SupportState:
        """The head's state of encoded support images; it is recomputed for each mask, so it must be cheap."""
        raise NotImplementedError

    def match(self, query: Any, query_high: Float[Array, "b h w c"], state: Any) -> Any:
        """The result of matching each query to its support set; ``state`` has leading axes B and K."""
        raise NotImplementedError

    def predict(self, query: Any, state: Any, matched: Any, size: Size, train: bool) -> Prediction:
        """The prediction, with logits at ``size``, from the result of ``match``."""
        raise NotImplementedError

    def _decode_bins(self, input_at: Callable[[int], Array], grid: Size, size: Size, train: bool) -> tuple[Array, Any]:
        """FEM's logits at ``size`` and those of each bin at its own; ``input_at`` maps a bin's side to its input."""
        with jax.named_scope("fem"):
            inputs = [input_at(side) for side in bin_sizes(self.bins, grid[0])]
            logits, auxiliary = self.fem(inputs, grid, train)
            return ops.resize_bilinear(logits, size), auxiliary

    def _project(self, mid: Array, projection: nn.Module, train: bool) -> Array:
        return self.projection_dropout(nn.relu(projection(mid)), deterministic=not train)

    def _confidence(self, query_high: Array, state: SupportState) -> Float[Array, "b h w"]:
        with jax.named_scope("confidence"):
            return ops.foreground_confidence(query_high, state.high_level, state.mask, self.dtype)

    def _grid_masks(self, labels: Int[Array, "*b s s"]) -> Float[Array, "*b h w"]:
        return grid_masks(labels == 1, self.backbone.grid(labels.shape[-1]))

    def _encode_sets(self, mid: Float[Array, "b k h w m"], role: Role, train: bool) -> Any:
        return jax.tree.map(lambda x: split_shots(x, len(mid)), self.encode(join_shots(mid), role, train))

    def _run_backbone(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """``function(backbone, *arrays)``, image by image if ``sequential``."""
        if self.is_initializing() or not self.sequential:
            return function(self.backbone, *arrays)
        backbone, variables = self.backbone.unbind()

        def run_one(one: tuple[Any, ...]) -> Any:
            result = nn.apply(function, backbone)(variables, *jax.tree.map(lambda x: x[None], one))
            return jax.tree.map(lambda x: x[0], result)

        return jax.lax.map(run_one, arrays)


def mid_and_high(
    backbone: nn.Module, images: Float[Array, "n s s 3"], masks: Array | None = None, batch_statistics: bool = False
) -> tuple[Float[Array, "n h w m"], Float[Array, "n h w c"]]:
    """Levels 3 and 2 of a bound backbone, concatenated over channels, and its level 4 of (level 3 * masks)."""
    with jax.named_scope("backbone"):
        if masks is None:
            levels = backbone(images, batch_statistics)
        else:
            levels = backbone.mid_levels(images, batch_statistics)
            levels["level4"] = masked_high(backbone, levels["level3"], masks, batch_statistics)
    return jnp.concatenate([levels["level3"], levels["level2"]], axis=-1), levels["level4"]


def masked_high(
    backbone: nn.Module, level3: Float[Array, "n h w c"], masks: Float[Array, "n h w"], batch_statistics: bool = False
) -> Float[Array, "n h w c4"]:
    """Level 4 of (level 3 * masks) by a bound backbone."""
    return backbone.high_level(level3 * masks[..., None].astype(level3.dtype), batch_statistics)


def grid_masks(foreground: Array, grid: int | tuple[int, ...]) -> Float[Array, "*b h w"]:
    """Foreground masks ``[..., S, S]``, resized to the feature grid, in [0, 1]."""
    return ops.resize_bilinear(foreground.astype(jnp.float32)[..., None], grid)[..., 0]


def _split_roles(sets: Any) -> tuple[Any, Any]:
    """Splits arrays ``[b, 1+k, ...]`` into the queries, which come first, and the supports."""
    return jax.tree.map(lambda x: x[:, 0], sets), jax.tree.map(lambda x: x[:, 1:], sets)


def split_shots(x: Float[Array, "bk ..."], batch: int) -> Float[Array, "b k ..."]:
    """``[B * K, ...]`` to ``[B, K, ...]``."""
    return x.reshape(batch, -1, *x.shape[1:])


def join_shots(x: Float[Array, "b k ..."]) -> Float[Array, "bk ..."]:
    """``[B, K, ...]`` to ``[B * K, ...]``."""
    return x.reshape(-1, *x.shape[2:])
