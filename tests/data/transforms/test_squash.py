"""HSNet's transform against Pillow and hand-worked values."""

import jax
import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.evaluation import test_transform as fit_episodes  # pytest would collect it
from mmnet_jax.data.transforms.geometry import normalise
from mmnet_jax.data.transforms.squash import SQUASH, squash_image, squash_label


def in_canvas(array, side=130):
    """The array in the top left corner of a square of other numbers, which must have no effect."""
    canvas = np.full((side, side, *array.shape[2:]), 77, array.dtype)
    canvas[: array.shape[0], : array.shape[1]] = array
    return canvas


@pytest.mark.parametrize(
    "size", [(130, 97), (64, 128), (41, 41), (20, 30), (1, 130), (123, 5), (82, 81)], ids=lambda size: f"{size[0]}"
)
@pytest.mark.parametrize("smooth", [False, True])
def test_an_image_is_squashed_as_pillow_does(size, smooth):
    image = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), dtype=np.uint8)
    if smooth:
        image = np.asarray(Image.fromarray(image[::9, ::9]).resize(size[::-1], Image.Resampling.BICUBIC))
    squashed = jax.jit(squash_image, static_argnums=2)(in_canvas(image), np.array(size), 41)
    rows_first = Image.fromarray(image).resize((41, size[0]), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(squashed, rows_first.resize((41, 41), Image.Resampling.BILINEAR))
    whole = np.asarray(Image.fromarray(image).resize((41, 41), Image.Resampling.BILINEAR))
    assert np.abs(np.asarray(squashed) - whole).max() <= 1


def test_a_label_is_squashed_by_nearest_pixels():
    label = np.array([[0, 1, 255], [1, 1, 0]], np.uint8)
    squashed = squash_label(in_canvas(label, 9), np.array([2, 3]), 4)
    rows, columns = [0, 0, 1, 1], [0, 0, 1, 2]  # floor(i * 2 / 4), floor(i * 3 / 4)
    np.testing.assert_array_equal(squashed, label[rows][:, columns])
    enlarged = squash_label(label, np.array([2, 3]), 400)
    assert enlarged.shape == (400, 400) and [int(enlarged[i, 0]) for i in (0, 199, 200, 399)] == [0, 0, 1, 1]


def test_episodes_are_squashed_image_by_image():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 3, 40, 40, 3), dtype=np.uint8)
    labels = random.choice(np.array([0, 1, 255], np.uint8), (2, 3, 40, 40))
    sizes = random.integers(8, 41, (2, 3, 2)).astype(np.int32)
    episode = jax.jit(fit_episodes, static_argnums=(1, 2))(RawEpisodes(images, labels, sizes), 17, SQUASH)
    assert episode.support_images.shape == (2, 2, 17, 17, 3)
    for b, n in np.ndindex(2, 3):
        image = normalise(squash_image(images[b, n], sizes[b, n], 17))
        label = squash_label(labels[b, n], sizes[b, n], 17)
        ours = episode.query_image[b] if n == 0 else episode.support_images[b, n - 1]
        np.testing.assert_allclose(ours, image, atol=1e-5)
        np.testing.assert_array_equal(episode.query_label[b] if n == 0 else episode.support_labels[b, n - 1], label)
