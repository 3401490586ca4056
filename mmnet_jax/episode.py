"""The types that all parts share: an episode, an encoded support set, and a prediction.

All three are pytrees (``flax.struct`` dataclasses), so they pass through ``jit``, ``vmap`` and ``grad``.
Letters: B episodes, K shots, S image side, H x W the feature grid, D projected channels, N memory embeddings,
C channels of the backbone's level 4.
"""

from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue in [0, 1]; every image is normalised by it, whatever the backbone."""
IMAGENET_STD = (0.229, 0.224, 0.225)


@struct.dataclass
class Episode:
    """One or several few-shot tasks: a query image to segment, K labelled support images of the same class.

    Images are RGB, normalised by the ImageNet mean and standard deviation. Labels hold 1 where the class is, 0 where
    it is not, 255 to ignore.
    """

    query_image: Float[Array, "b s s 3"]
    support_images: Float[Array, "b k s s 3"]
    support_labels: Int[Array, "b k s s"]
    query_label: Int[Array, "b s s"] | None = None


@struct.dataclass
class SupportState:
    """Support images encoded once for any number of queries; each head adds its own fields.

    A state made by ``encode_support`` describes one support set and has no leading B.
    """

    high_level: Float[Array, "*b k h w c"]
    """Level 4, not yet multiplied by the mask; made of masked level-3 features where the reading says so."""
    mask: Float[Array, "*b k h w"]
    """Foreground on the feature grid, in [0, 1]; soft where the grid is not every 8th pixel."""


@struct.dataclass
class Prediction:
    """Logits and the intermediate maps that losses and figures use; each head adds its own."""

    logits: Float[Array, "b s s 2"]
    """Final logits at image size, of background and foreground."""
    auxiliary_logits: tuple[Float[Array, "b _ _ 2"], ...] = ()
    """The decoder's predictions at its scales, each at its own size."""
    confidence: Float[Array, "b h w"] | None = None
    """Foreground confidence C_Q (eq. 8), in [0, 1]; ``None`` from a head without it."""

    def own_losses(self, objective: Any) -> dict[str, tuple[float, Float[Array, ""]]]:
        """Weight and value of each loss term of this head alone, by name; ``objective`` is a ``losses.Objective``."""
        return {}
