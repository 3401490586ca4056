"""Two support images, three queries and a tiny network."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax import get_config
from mmnet_jax.config import resolve
from mmnet_jax.errors import UserError
from mmnet_jax.inference.supports import read_supports
from tests.tiny import tiny_network

SIZE = 33


def refused(message, call, *arguments):
    """Asserts that the call raises a ``UserError`` with exactly this message."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert str(error.value) == message


@pytest.fixture(scope="session")
def config():
    config = get_config()
    config.data.image_size = SIZE
    config.evaluation.batch_size = 2
    return resolve(config)


@pytest.fixture(scope="session")
def network():
    """A tiny network whose foreground bias makes masks neither empty nor full."""
    model, variables = tiny_network()
    bias = variables["params"]["fem"]["classifier"]["output"]["bias"]
    variables["params"]["fem"]["classifier"]["output"]["bias"] = bias.at[1].add(0.213)
    return model, variables


@pytest.fixture
def folder(tmp_path):
    """a.jpg, 60 x 40, and b.png, 30 x 50, with masks of columns 5 to 24 and rows 10 to 29; three images in queries/."""
    random = np.random.default_rng(0)
    (tmp_path / "queries").mkdir()
    sizes = {"a.jpg": (40, 60), "b.png": (50, 30), "one.jpg": (20, 90), "three.png": (33, 33), "two.JPEG": (70, 50)}
    for name, (height, width) in sizes.items():
        support = name in ("a.jpg", "b.png")
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.save(tmp_path / name if support else tmp_path / "queries" / name)
        if support:
            mask = np.zeros((height, width), np.uint8)
            mask[10:30, 5:25] = 255
            Image.fromarray(mask).save(tmp_path / f"{name[0]}_label.png")
    (tmp_path / "queries" / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def supports_of(folder, config):
    """A function that reads the supports of these names with their masks."""
    images = {"a": folder / "a.jpg", "b": folder / "b.png"}

    def read(names="a", **options):
        masks = [folder / f"{n}_label.png" for n in names]
        return read_supports([images[n] for n in names], masks, config, **options)

    return read
