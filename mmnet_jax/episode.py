"""The types that everyone shares: an episode, what a support set becomes, and what the network says.

All three are pytrees (``flax.struct`` dataclasses), so they pass through ``jit``, ``vmap`` and ``grad``.
Letters: B episodes, K shots, S image side, H x W the feature grid, D projected channels, N memory embeddings,
C channels of the backbone's level 4.
"""

from __future__ import annotations

from flax import struct
from jaxtyping import Array, Float, Int

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue in [0, 1]; what every image is normalised by, whichever network sees it."""
IMAGENET_STD = (0.229, 0.224, 0.225)
IGNORE = 255
"""Label of pixels of which nothing is known."""


@struct.dataclass
class Episode:
    """One or several few-shot tasks: a query image to segment, K labelled support images of the same class.

    Images are RGB, normalised by the ImageNet mean and standard deviation. Labels hold 1 where the class is, 0 where
    it is not, 255 where nothing is known.
    """

    query_image: Float[Array, "b s s 3"]
    support_images: Float[Array, "b k s s 3"]
    support_labels: Int[Array, "b k s s"]
    query_label: Int[Array, "b s s"] | None = None


@struct.dataclass
class SupportState:
    """What the network needs to know of the support images; encoded once, used for any number of queries.

    A state made by ``encode_support`` describes one support set and has no leading B.
    """

    high_level: Float[Array, "*b k h w c"]
    """Level 4, not yet multiplied by the mask; made of masked level-3 features where the reading says so."""
    mask: Float[Array, "*b k h w"]
    """Foreground on the feature grid, in [0, 1]; soft where the grid is not every 8th pixel."""
    nodes: tuple[Float[Array, "*b k h w n"], ...] = ()
    """F . M of the support images before the sigmoid (eq. 1), one array a memory; F itself without a memory."""
    projected: tuple[Float[Array, "*b k h w d"], ...] = ()
    """F, where shots are weighed by attention."""
    prototype: Float[Array, "*b k d"] | None = None
    """PFENet's: F, averaged over the mask."""


@struct.dataclass
class Prediction:
    """What the network says of the queries, and on the way there."""

    logits: Float[Array, "b s s 2"]
    """Final logits at image size: background, foreground."""
    activations: Float[Array, "b h w n"]
    """The query's meta-class activations, Act_Q of eq. 1, in (0, 1); those of several memories side by side. Without a
    memory the projected features, or none where the network has no use for them."""
    fused: Float[Array, "b h w n"]
    """Activations after APM and QMM (eq. 5, 9)."""
    confidence: Float[Array, "b h w"]
    """Foreground confidence C_Q (eq. 6-8), in [0, 1]."""
    shot_weights: Float[Array, "b k h w"]
    """QMM's weight of each shot at each query position (eq. 9); they sum to 1 over the shots."""
    auxiliary_logits: tuple[Float[Array, "b _ _ 2"], ...]
    """FEM's prediction at each bin's own size."""
    query_memory_logits: tuple[Float[Array, "b h w n"], ...]
    """F_Q . M before the sigmoid, for the reconstruction loss; one array a memory."""
    support_memory_logits: tuple[Float[Array, "b k h w n"], ...]
    """F_S . M before the sigmoid, likewise."""
