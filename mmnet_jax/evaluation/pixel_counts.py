"""Pixel counts on the device: maps are resized to the label's size, intersections and unions are exact integers.

Shapes are static, so that images of any sizes share one compilation: each label lies at the top left of a square canvas
of side M, which is 255 elsewhere, and its size is an argument. Labels are 0 background, 1 foreground, 255 not counted;
confidence lies in [0, 1]. Letters: B episodes, S image side, M canvas side.
"""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from mmnet_jax.ops.resize import resize_to_sides

THRESHOLDS = 101
"""Number of thresholds on the confidence map: 0, 0.01, ... 1."""


@struct.dataclass
class PixelCounts:
    """Pixel counts of each episode; the last axis is background, foreground. Pixels labelled 255 do not count."""

    intersection: Int[Array | np.ndarray, "b 2"]
    union: Int[Array | np.ndarray, "b 2"]
    area: Int[Array | np.ndarray, "b 2"]
    """Pixels of the label."""


def predicted_foreground(logits: Float[Array, "b s s 2"], sides: Int[Array, " b"], canvas: int) -> Bool[Array, "b m m"]:
    """True where the foreground logit, resized to the label's size, exceeds the background logit.

    The resize is linear, so the difference of the logits is resized instead of both. A tie is background, as in argmax.
    """
    return resize_to_sides(logits[..., 1] - logits[..., 0], sides, canvas) > 0


def count_pixels(predicted: Bool[Array, "b m m"], labels: Integer[Array, "b m m"]) -> PixelCounts:
    """Intersection, union and area of background and foreground in each episode, int32."""
    truth = jnp.stack([labels == 0, labels == 1], axis=1)
    right = truth & jnp.stack([~predicted, predicted], axis=1)
    area, hits = (jnp.sum(where, axis=(2, 3), dtype=jnp.int32) for where in (truth, right))
    return PixelCounts(intersection=hits, union=area + (area - hits)[:, ::-1], area=area)


def threshold_bins(confidence: Float[Array, "b m m"], labels: Integer[Array, "b m m"]) -> UInt8[Array, "b m m"]:
    """The bin of each pixel: label * THRESHOLDS + floor(100 * confidence), and one more for pixels not counted."""
    level = jnp.clip(jnp.floor(confidence * (THRESHOLDS - 1)), 0, THRESHOLDS - 1).astype(jnp.uint8)
    return jnp.where(labels < 2, labels.astype(jnp.uint8) * THRESHOLDS + level, 2 * THRESHOLDS).astype(jnp.uint8)


def count_above_thresholds(bins: UInt8[np.ndarray, "b m m"]) -> Integer[np.ndarray, "b 2 thresholds"]:
    """Number of background and foreground pixels of each label with a confidence of at least 0, 0.01, ... 1.

    Runs on the host: on a CPU it takes a third of the time of XLA's histogram (1.2 ms for 500 x 500 pixels).
    """
    filled = np.stack([np.bincount(image.ravel(), minlength=2 * THRESHOLDS + 1) for image in bins])
    exact = filled[:, :-1].reshape(-1, 2, THRESHOLDS)
    return np.cumsum(exact[..., ::-1], axis=-1)[..., ::-1]
