"""Per-batch outputs computed on the device: pixel counts, and the maps shown on the sheet of episodes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from mmnet_jax.data.transforms.squash import squash_label
from mmnet_jax.evaluation.pixel_counts import PixelCounts, count_pixels, predicted_foreground, threshold_bins
from mmnet_jax.features.encoded import Networks
from mmnet_jax.labels import IGNORE
from mmnet_jax.models.encoded import EncodedImage, decode_images, stack_images
from mmnet_jax.models.network import grid_masks
from mmnet_jax.ops.resize import resize_bilinear, resize_to_sides

SHOWN = 3
"""Number of activation maps shown for an episode; fewer if the memory is smaller."""


@struct.dataclass
class Outputs:
    """Outputs for a batch; M is the side of the square in which labels are scored."""

    counts: dict[str, PixelCounts]
    """Pixel counts by head."""
    bins: UInt8[Array, "b m m"] | None
    """``threshold_bins`` of the confidence map, for its baseline; None without a map or with a single head."""
    predicted: Bool[Array, "b m m"]
    """True where the trained head predicts foreground."""
    size: Int[Array, "b 2"]
    """Height and width of the scored label inside its square."""
    confidence: Float[Array, "b h w"] | None
    """Confidence map, in [0, 1]; None for a head without one."""
    activations: Float[Array, "b n h w"]
    """``top_activations`` of the query."""
    embeddings: Int[Array, "b n"]
    """Indices of these embeddings in the memory."""


class Scoring(NamedTuple):
    """A protocol's rules for scoring masks."""

    side: int | None = None
    """``Protocol.scoring_side``."""
    ignored_is_background: bool = False
    """``Manifest.ignored_is_background``."""


def scored_labels(
    labels: UInt8[Array, "b m m"], sizes: Int[Array, "b 2"], scoring: Scoring
) -> tuple[UInt8[Array, "b n n"], Int[Array, "b 2"]]:
    """Labels at the size at which they are scored, top-left in squares, 255 where not counted, and their sizes."""

    def scored(label: UInt8[Array, "m m"], size: Int[Array, "2"]) -> tuple[UInt8[Array, "n n"], Int[Array, "2"]]:
        if scoring.ignored_is_background:
            at = jnp.arange(len(label))
            inside = (at[:, None] < size[0]) & (at[None] < size[1])
            label = jnp.where(inside & (label == IGNORE), 0, label)
        if scoring.side is None:
            return label, size
        return squash_label(label, size, scoring.side), jnp.full_like(size, scoring.side)

    return jax.vmap(scored)(labels, sizes)


@functools.partial(jax.jit, static_argnames="scoring")
def compute_outputs(
    networks: Networks,
    scoring: Scoring,
    sets: tuple[tuple[EncodedImage, ...], ...],
    labels: UInt8[Array, "b n m m"],
    sizes: Int[Array, "b n 2"],
) -> Outputs:
    """Segments a batch with every head and counts pixels at the size at which the protocol scores.

    With more than one head, the confidence map is binned too. ``sets`` holds the encoded query and supports of each
    episode, ``labels`` their labels as stored.
    """
    model, variables = networks.model, networks.variables()
    stacked = stack_images([query for query, *_ in sets]), stack_images([stack_images(shots) for _, *shots in sets])
    queries, supports = jax.lax.with_sharding_constraint(stacked, networks.by_row)
    fitted = networks.encoder.fit_labels(labels, sizes)
    support_labels, image_size = fitted[:, 1:], fitted.shape[2:]
    support_masks = grid_masks(support_labels == 1, queries.high.shape[1:3])
    predictions = decode_images(model, variables, queries, supports, support_masks, image_size)
    trained = predictions["trained"]
    scored, size = scored_labels(labels[:, 0], sizes[:, 0], scoring)
    sides, canvas = size.max(axis=-1), scored.shape[-1]
    masks = {head: predicted_foreground(p.logits, sides, canvas) for head, p in predictions.items()}
    confidence, bins = trained.confidence, None  # the same for all heads
    if confidence is not None and len(variables) > 1:
        full = resize_bilinear(confidence[..., None], image_size)[..., 0]
        bins = threshold_bins(resize_to_sides(full, sides, canvas), scored)
    activations, embeddings = top_activations(trained, support_labels)
    outputs = Outputs(
        {head: count_pixels(mask, scored) for head, mask in masks.items()},
        *(bins, masks["trained"], size, confidence, activations, embeddings),
    )
    return jax.lax.with_sharding_constraint(outputs, networks.everywhere)


def top_activations(
    prediction: Any, support_labels: Int[Array, "b k s s"], count: int = SHOWN
) -> tuple[Float[Array, "b n h w"], Int[Array, "b n"]]:
    """The query's activation maps of the embeddings that distinguish the support foreground best.

    Embeddings are ranked by their activation on the supports: the mean over the foreground minus the mean over the
    background, all shots together, without ignored pixels and padding. Returns n = ``count`` maps in [0, 1] by rank,
    and the indices of their embeddings (a second memory's follow the first's); n = 0 for a network without memory.
    """
    memories = getattr(prediction, "support_memory_logits", ())  # only MM-Net's head has them
    if not memories:
        return jnp.zeros((len(support_labels), 0, 1, 1)), jnp.zeros((len(support_labels), 0), jnp.int32)
    activations = jax.nn.sigmoid(jnp.concatenate(memories, axis=-1))

    def mean_over(where: Array) -> Float[Array, "b n"]:
        weights = resize_bilinear(where.astype(jnp.float32)[..., None], activations.shape[2:4])
        area = jnp.maximum(weights.sum(axis=(1, 2, 3)), 1e-6)
        return (activations * weights).sum(axis=(1, 2, 3)) / area

    excess = mean_over(support_labels == 1) - mean_over(support_labels == 0)
    _, embeddings = jax.lax.top_k(excess, min(count, excess.shape[-1]))
    maps = jnp.take_along_axis(prediction.activations, embeddings[:, None, None], axis=-1)
    return jnp.moveaxis(maps, -1, 1), embeddings
