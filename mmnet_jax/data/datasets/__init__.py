"""Registry of the datasets; each is declared in one file."""

from mmnet_jax.data.datasets.coco20i import COCO20I
from mmnet_jax.data.datasets.creatures.builder import CREATURES
from mmnet_jax.data.datasets.custom import CUSTOM
from mmnet_jax.data.datasets.fss1000 import FSS1000
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.datasets.spec import DatasetSpec

DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in (PASCAL5I, COCO20I, FSS1000, CUSTOM, CREATURES)}
