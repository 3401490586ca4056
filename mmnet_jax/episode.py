"""Types that all packages share: an episode, an encoded support set, and a prediction.

All three are pytrees (``flax.struct`` dataclasses), so they pass through ``jit``, ``vmap`` and ``grad``.
Letters: B episodes, K shots, S image side, H x W the feature grid, D projected channels, N memory embeddings,
C channels of the backbone's level 4.
"""

from typing import Any

from flax import struct
from jaxtyping import Array, Float, Int

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue in [0, 1], by which every image is normalised, for all backbones."""
IMAGENET_STD = (0.229, 0.224, 0.225)


@struct.dataclass
class Episode:
    """A batch of few-shot tasks: a query image to segment, and K labelled support images of the same class.

    Images are RGB, normalised by the ImageNet mean and standard deviation. Labels are 1 for the class, 0 for the rest
    and 255 to ignore.
    """

    query_image: Float[Array, "b s s 3"]
    support_images: Float[Array, "b k s s 3"]
    support_labels: Int[Array, "b k s s"]
    query_label: Int[Array, "b s s"] | None = None


@struct.dataclass
class SupportState:
    """Support images encoded once for any number of queries; each head adds its own fields.

    ``encode_support`` gives one support set, without the axis B.
    """

    high_level: Float[Array, "*b k h w c"]
    """Level 4, not multiplied by the mask; computed from masked level-3 features if the reading says so."""
    mask: Float[Array, "*b k h w"]
    """Foreground on the feature grid, in [0, 1]; soft unless the grid is every 8th pixel."""


@struct.dataclass
class Prediction:
    """Logits and the intermediate maps that losses and figures use; each head adds its own."""

    logits: Float[Array, "b s s 2"]
    """Final logits of background and foreground at image size."""
    auxiliary_logits: tuple[Float[Array, "b _ _ 2"], ...] = ()
    """The decoder's logits at each of its scales, each at its own size."""
    confidence: Float[Array, "b h w"] | None = None
    """Foreground confidence C_Q (eq. 8), in [0, 1]; ``None`` for a head without it."""

    def own_losses(self, objective: Any) -> dict[str, tuple[float, Float[Array, ""]]]:
        """Weight and value of each loss term that only this head has; ``objective`` is a ``losses.Objective``."""
        return {}
