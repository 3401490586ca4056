"""A backbone for tests: it compiles in a moment and learns nothing useful."""

from __future__ import annotations

from jaxtyping import Array, Float

from mmnet_jax.models.backbones.backbone import Levels, StagedBackbone
from mmnet_jax.models.backbones.frozen import FrozenConv


class Tiny(StagedBackbone):
    """Three convolutions of stride 2 to the stride-8 grid, one more for level 3 and one for level 4."""

    def setup(self) -> None:
        self.stem = [FrozenConv(8, 3, stride=2) for _ in range(3)]
        self.stage3 = FrozenConv(12, 3)
        self.stage4 = FrozenConv(16, 3)

    @property
    def channels(self) -> dict[str, int]:
        return {"level2": 8, "level3": 12, "level4": 16}

    def mid_levels(self, images: Float[Array, "n s s 3"], batch_statistics: bool = False) -> Levels:
        level2 = images
        for convolution in self.stem:
            level2 = convolution(level2, batch_statistics)
        return {"level2": level2, "level3": self.stage3(level2, batch_statistics)}

    def high_level(self, level3: Float[Array, "n h w 12"], batch_statistics: bool = False) -> Float[Array, "n h w 16"]:
        return self.stage4(level3, batch_statistics)
