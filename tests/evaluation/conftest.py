"""A small dataset of coloured rectangles in memory, and a network of two parameters to evaluate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.episode import Prediction
from mmnet_jax.models import Features, MMNet
from mmnet_jax.models.heads.mmnet import MMNetPrediction

SIDE = 48


def make_split(name: str, classes: list[int], seed: int) -> Split:
    """One image for each given class: a rectangle of that class, ignored pixels below it, and noise elsewhere."""
    random = np.random.default_rng(seed)
    records, counts = [], []
    for c in classes:
        height, width = random.integers(24, SIDE + 1, size=2)
        image = random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        top, left = random.integers(0, 8, size=2)
        bottom, right = random.integers(16, 23, size=2)
        mask[top:bottom, left:right] = c
        mask[bottom : bottom + 1, left:right] = 255
        image[mask == c] = (20 * c, 255 - 20 * c, 10 * c)
        records.append({"image": png_bytes(image), "mask": png_bytes(mask)})
        counts.append(np.bincount(mask.ravel(), minlength=256)[:21])
    ids = [f"{name}_{i:03d}" for i in range(len(classes))]
    return Split(name, ids, np.stack(counts), records, SIDE)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """Fold 1's novel classes 6, 7 and 8 in 11 test images; 9 and 10 have none."""
    test = make_split("val", [6, 7, 8, 6, 7, 8, 6, 7, 8, 6, 6], 1)
    return Dataset(PASCAL5I, make_split("train", [1, 2], 0), test)


@pytest.fixture(scope="session")
def config():
    config = get_config()
    config.update(fold=1, shots=1)
    config.data.update(image_size=33, min_pixels=20)
    config.model.update(backbone="efficientnet_lite2", random_backbone=True, memory_size=4, channels=8)
    config.evaluation.batch_size = 4
    return resolve(config)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Stands in for a backbone."""

    @property
    def channels(self):
        return {"level2": 1, "level3": 2, "level4": 3}


class ColourNetwork(MMNet):
    """A network with two parameters: red is evidence for background, green for foreground.

    It compiles in a second instead of twenty.
    """

    backbone: Pixels = Pixels()

    def setup(self):
        self.weights = self.param("weights", nn.initializers.normal(1.0), (2,))

    def levels(self, images):
        return images, images

    def extract(self, episode, train=False):
        query, supports = episode.query_image, episode.support_images
        return Features(query, query, supports, supports, (episode.support_labels == 1).astype(jnp.float32))

    def encode(self, mid, role, train):
        return mid

    def decode_encoded(self, query, query_high, support, support_high, support_mask, size, train=False):
        logits = query[..., :2] * self.weights[None, None, None]
        # every fourth pixel stands for a coarser grid, and colours stand for the memory's logits
        confidence = jax.nn.sigmoid(query_high[:, ::4, ::4, 2])
        query, supports = query[:, ::4, ::4], support[:, :, ::4, ::4]
        memory = {"query_memory_logits": (query,), "support_memory_logits": (supports,)}
        return MMNetPrediction(logits, confidence=confidence, activations=jax.nn.sigmoid(query), **memory)


@pytest.fixture(scope="session")
def network(config):
    return ColourNetwork(), {"params": {"weights": jnp.array([1.0, 1.25])}, "backbone": {}, "batch_stats": {}}


class BareNetwork(ColourNetwork):
    """The same logits from a head without a confidence map and a memory."""

    def decode_encoded(self, *arguments):
        return Prediction(super().decode_encoded(*arguments).logits)
