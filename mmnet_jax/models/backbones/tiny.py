"""A backbone for tests, which compiles fast and has no useful features."""

from mmnet_jax.models.backbones.backbone import Layers, StagedBackbone
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

    @property
    def stages(self) -> tuple[Layers, Layers, Layers]:
        return self.stem, [self.stage3], [self.stage4]
