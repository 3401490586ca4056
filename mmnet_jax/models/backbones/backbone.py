"""Interface of all backbones: levels by name, the grid, and the valid image sides."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

Levels = dict[str, Array]
"""``level2``, ``level3`` and ``level4``, each ``[n, h, w, channels]``."""
Layers = Sequence[Callable[[Any, bool], Array]]
"""Functions from features and ``batch_statistics`` to features."""


class Backbone(nn.Module):
    """A frozen feature extractor: images to levels 2, 3 and 4, which share one grid.

    Images are RGB, normalised by the ImageNet mean and standard deviation for every backbone. A family defines
    ``channels`` and ``__call__``, and overrides ``SIDES`` and ``grid`` where they differ.

    The default ``output_stride`` of a family is that of the common grid. At 32 a convolutional family has the strides
    of its classifier: the levels are on grids of strides 8, 16 and 32. The variables are the same at any stride.
    """

    output_stride: int = 8

    EPSILON: ClassVar[float] = 1e-5
    """Added to the variance in batch normalisation."""
    SIDES: ClassVar[tuple[int, int]] = (8, 1)
    """Step a and offset b of the valid image sides a * k + b, k at least 1."""

    @property
    def channels(self) -> dict[str, int]:
        """Channels of each level."""
        raise NotImplementedError

    def grid(self, size: int) -> int:
        """Side of level 4's grid for images of ``size`` pixels; at the default stride all levels share it."""
        return -(-size // self.output_stride)

    def check_side(self, side: int, what: str = "the side of images") -> None:
        """Raises a ``ValueError`` that names the nearest valid sides unless ``side`` is valid."""
        step, offset = self.SIDES
        if side < step + offset or (side - offset) % step:
            below = max((side - offset) // step, 1) * step + offset
            rule = f"{step}k + {offset}" if offset else f"{step}k"
            raise ValueError(f"{what} must be {rule}, but is {side}; the nearest are {below} and {below + step}.")

    def __call__(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Levels:
        """The levels of ``images``; ``batch_statistics`` as in ``FrozenConv``."""
        raise NotImplementedError


class StagedBackbone(Backbone):
    """A backbone that computes level 4 from level 3 alone, so that level 3 can be masked in between."""

    @property
    def stages(self) -> tuple[Layers, Layers, Layers]:
        """The layers from images to level 2, from level 2 to 3, and from level 3 to 4."""
        raise NotImplementedError

    def mid_levels(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Levels:
        """Levels 2 and 3 of ``images``."""
        level2 = _run(self.stages[0], images, batch_statistics)
        return {"level2": level2, "level3": _run(self.stages[1], level2, batch_statistics)}

    def high_level(self, level3: Float[Array, "n h w c3"], batch_statistics: bool = False) -> Float[Array, "n a b c4"]:
        """Level 4, from level 3."""
        return _run(self.stages[2], level3, batch_statistics)

    def __call__(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Levels:
        levels = self.mid_levels(images, batch_statistics)
        return levels | {"level4": self.high_level(levels["level3"], batch_statistics)}


def _run(layers: Layers, x: Array, batch_statistics: bool) -> Array:
    for layer in layers:
        x = layer(x, batch_statistics)
    return x
