"""The test transform, of episodes and of users' own images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.transforms import evaluation as fitting
from mmnet_jax.episode import IMAGENET_MEAN as MEAN, IMAGENET_STD as STD
from mmnet_jax.errors import UserError
from tests.data.synthetic import split_of_masks


def unnormalised(image):
    return 255 * (np.asarray(image) * np.array(STD) + np.array(MEAN))


def noise(height, width, seed=0):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label = random.choice(np.array([0, 1, 255], np.uint8), (height, width))
    return image, label


FITTED = {
    (375, 500, 473): (352, 472),  # 375 * 473 / 500 = 354.75
    (500, 375, 473): (472, 352),
    (500, 500, 193): (192, 192),
    (100, 100, 473): (472, 472),
    (430, 80, 473): (472, 88),  # 80 * 1.1 = 88 exactly
    (20, 2000, 193): (8, 192),  # 1.93 would leave nothing
}


@pytest.mark.parametrize("case", FITTED)
def test_longer_side_becomes_s_and_both_are_floored_to_eights(case):
    assert tuple(fitting.fitted_size(np.array(case[:2]), case[2])) == FITTED[case]


@pytest.mark.parametrize("size", [(90, 120), (120, 61), (40, 33), (57, 57), (12, 203)])
@pytest.mark.parametrize("side", [57, 97])
def test_equals_opencv(size, side):
    cv2 = pytest.importorskip("cv2")
    image, label = noise(*size)
    height, width = (int(side / max(size) * s) // 8 * 8 or 8 for s in size)
    expected = np.zeros((side, side, 3), np.float32)
    expected[:height, :width] = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    expected_label = np.full((side, side), 255)
    expected_label[:height, :width] = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)

    np.testing.assert_allclose(unnormalised(fitting.prepare_image(image, side)), expected, atol=0.01)
    # (Where a whole pixel is hit exactly, as by 200 -> 56, OpenCV's own rounding may take the one before.)
    np.testing.assert_array_equal(fitting.prepare_label(label, side), expected_label)


def test_resized_values_are_exact_to_a_thousandth_of_a_grey_level():
    image = np.indices((375, 500)).sum(axis=0) % 2 * np.uint8(255)  # a chessboard, the most sensitive to positions
    image = np.repeat(image[..., None], 3, axis=-1).astype(np.uint8)
    expected = image.astype(np.float64)
    for axis, (n, m) in enumerate(((375, 352), (500, 472))):
        position = ((np.arange(m) + 0.5) * n / m - 0.5).clip(0, n - 1)
        low = np.floor(position).astype(int)
        high, weight = np.minimum(low + 1, n - 1), np.expand_dims(position - low, (1 - axis, 2))
        expected = expected.take(low, axis) * (1 - weight) + expected.take(high, axis) * weight
    np.testing.assert_allclose(unnormalised(fitting.prepare_image(image, 473))[:352, :472], expected, atol=1e-3)


def test_padding_is_black_before_normalisation_and_ignored_in_the_label():
    image = fitting.prepare_image(np.full((20, 40, 3), 255, np.uint8), 33)  # to 16 x 32
    label = fitting.prepare_label(np.ones((20, 40), np.uint8), 33)
    assert image.shape == (33, 33, 3) and image.dtype == jnp.float32
    assert label.shape == (33, 33) and label.dtype == jnp.int32
    inside = np.zeros((33, 33), bool)
    inside[:16, :32] = True
    np.testing.assert_allclose(unnormalised(image), np.where(inside[..., None], 255.0, 0.0) + np.zeros(3), atol=1e-4)
    np.testing.assert_array_equal(label, np.where(inside, 1, 255))


def test_episodes_are_fitted_like_single_images_whatever_the_padding():
    masks = [np.full((20 + i, 30 - i), 3, np.uint8) for i in range(4)]
    for i, mask in enumerate(masks):
        mask[: 5 + i] = 0
    split = split_of_masks(masks)
    specs = [EpisodeSpec(0, 3, (1, 2)), EpisodeSpec(3, 3, (2, 0))]
    fit = jax.jit(fitting.test_transform, static_argnames="image_size")
    episode = fit(load_episodes(split, specs), image_size=25)
    for b, spec in enumerate(specs):
        images, labels = zip(*(split.read(i, 3) for i in (spec.query, *spec.supports)), strict=True)
        expected = [fitting.prepare_image(image, 25) for image in images]
        np.testing.assert_allclose(episode.query_image[b], expected[0], atol=1e-5)
        np.testing.assert_allclose(episode.support_images[b], expected[1:], atol=1e-5)
        expected = [fitting.prepare_label(label, 25) for label in labels]
        np.testing.assert_array_equal(episode.query_label[b], expected[0])
        np.testing.assert_array_equal(episode.support_labels[b], expected[1:])
    larger = fit(load_episodes(dataclasses.replace(split, max_side=47), specs), image_size=25)
    np.testing.assert_array_equal(episode.query_image, larger.query_image)
    np.testing.assert_array_equal(episode.support_labels, larger.support_labels)


def test_a_file_larger_than_the_padding_step_is_fitted(tmp_path):
    image, label = noise(700, 1300)
    Image.fromarray(image).save(tmp_path / "large.png")
    np.testing.assert_array_equal(fitting.prepare_image(tmp_path / "large.png", 33), fitting.prepare_image(image, 33))
    # Longer side 1300 -> 32, shorter 700 -> 16; nearest takes pixel floor(i * 700 / 16), floor(j * 1300 / 32).
    expected = label[np.arange(16) * 700 // 16][:, np.arange(32) * 1300 // 32]
    np.testing.assert_array_equal(fitting.prepare_label(label, 33)[:16, :32], expected)


def test_labels_of_other_shapes_and_values_are_refused():
    with pytest.raises(UserError, match=r"a label has two axes, but this one's shape is \[4, 4, 1\]; take one channel"):
        fitting.prepare_label(np.zeros((4, 4, 1), np.uint8), 33)
    with pytest.raises(UserError, match=r"a label holds 0, 1 and 255, but this one holds 7; give mask == INDEX for"):
        fitting.prepare_label(np.full((4, 4), 7), 33)
    of_bools, of_integers = (fitting.prepare_label(np.eye(4, dtype=kind), 33) for kind in (bool, np.int64))
    np.testing.assert_array_equal(of_bools, of_integers)


def test_a_label_without_foreground_is_refused():
    background, found = np.zeros((4, 4), np.uint8), "this label has no foreground, which is 1: it holds"
    for mask, sentence in [
        (255 * np.eye(4, dtype=np.uint8), f"{found} only 0 and 255 (255: ignore); give mask > 0 if 255 is the class."),
        (background + 255, f"{found} only 255 (255: ignore); give mask > 0 if 255 is the class."),
        (background, f"{found} only 0 (255: ignore)."),
        (background > 0, f"{found} only 0 (255: ignore)."),
    ]:
        with pytest.raises(UserError) as error:
            fitting.prepare_label(mask, 33)
        assert str(error.value) == sentence
