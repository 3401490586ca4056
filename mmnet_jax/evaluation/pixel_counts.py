"""Pixels counted on the device: maps brought to the label's own size, intersections and unions as exact integers.

Shapes are static, so that any mixture of image sizes compiles once: labels lie top-left in a square canvas of side M,
the rest of it 255, and each example's own size goes in as a number. Labels are 0 background, 1 foreground, 255 not
counted; confidence lies in [0, 1]. Letters: B episodes, S image side, M canvas side.
"""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from mmnet_jax.ops.resize import resize_to_sides

THRESHOLDS = 101
"""The confidence map is cut at 0, 0.01, ... 1."""


@struct.dataclass
class PixelCounts:
    """Counted pixels of each episode; the last axis is background, foreground. Pixels labelled 255 do not count."""

    intersection: Int[Array | np.ndarray, "b 2"]
    union: Int[Array | np.ndarray, "b 2"]
    area: Int[Array | np.ndarray, "b 2"]
    """Pixels of the label itself."""


def predicted_foreground(logits: Float[Array, "b s s 2"], sides: Int[Array, " b"], canvas: int) -> Bool[Array, "b m m"]:
    """Where the foreground's resized logit exceeds the background's, at each label's own size.

    The resize is linear, so the difference of the two is resized instead of both; a tie is background, as in argmax.
    """
    return resize_to_sides(logits[..., 1] - logits[..., 0], sides, canvas) > 0


def count_pixels(predicted: Bool[Array, "b m m"], labels: Integer[Array, "b m m"]) -> PixelCounts:
    """Intersection, union and area of background and foreground in each episode, int32."""
    truth = jnp.stack([labels == 0, labels == 1], axis=1)
    right = truth & jnp.stack([~predicted, predicted], axis=1)
    area, hits = (jnp.sum(where, axis=(2, 3), dtype=jnp.int32) for where in (truth, right))
    return PixelCounts(intersection=hits, union=area + (area - hits)[:, ::-1], area=area)


def threshold_bins(confidence: Float[Array, "b m m"], labels: Integer[Array, "b m m"]) -> UInt8[Array, "b m m"]:
    """Each pixel's bin: label * THRESHOLDS + floor(100 * confidence), and a last one for what does not count."""
    level = jnp.clip(jnp.floor(confidence * (THRESHOLDS - 1)), 0, THRESHOLDS - 1).astype(jnp.uint8)
    return jnp.where(labels < 2, labels.astype(jnp.uint8) * THRESHOLDS + level, 2 * THRESHOLDS).astype(jnp.uint8)


def count_above_thresholds(bins: UInt8[np.ndarray, "b m m"]) -> Integer[np.ndarray, "b 2 thresholds"]:
    """Number of background and foreground pixels of each label that have a confidence of at least 0, 0.01, ... 1.

    On the host, which takes a third of the time that XLA's histogram takes on a CPU (1.2 ms for 500 x 500 pixels).
    """
    filled = np.stack([np.bincount(image.ravel(), minlength=2 * THRESHOLDS + 1) for image in bins])
    exact = filled[:, :-1].reshape(-1, 2, THRESHOLDS)
    return np.cumsum(exact[..., ::-1], axis=-1)[..., ::-1]
