"""The training transform against OpenCV, part by part and as a whole, and its random draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmnet_jax.config import get_config
from mmnet_jax.config.values import augmentation
from mmnet_jax.data.raw import RawEpisodes
from mmnet_jax.data.transforms.training import Parameters, augment, choose_crop, draw_parameters, transform
from mmnet_jax.episode import IMAGENET_MEAN as MEAN, IMAGENET_STD as STD

SQUARE = 96  # images lie in squares of this side
FILL = [255 * m for m in MEAN]


def options_of(size, **changes):
    config = get_config()
    config.data.update(image_size=size, **changes)
    return augmentation(config)


def parameters(scale=1.0, degrees=0.0, blur=False, flip=False, crops=((0.5, 0.5),)):
    return Parameters(np.float32(scale), np.float32(degrees), np.bool_(blur), np.bool_(flip), np.float32(crops))


def noise(height, width, seed=0):
    """Noise, and a label of blobs of all three values; in the corner of a square of other noise."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (SQUARE, SQUARE, 3), dtype=np.uint8)
    blobs = np.kron(random.choice(np.array([0, 1, 255], np.uint8), (24, 24)), np.ones((4, 4), np.uint8))
    label = np.full((SQUARE, SQUARE), 255, np.uint8)
    label[:height, :width] = blobs[:height, :width]
    return image, label


@functools.cache
def compiled(size):
    options = options_of(size)
    return jax.jit(lambda *arguments: transform(*arguments, options))


def ours(image, label, size, drawn, side):
    image, label = compiled(side)(image, label, np.array(size), drawn)
    return 255 * (np.asarray(image) * np.array(STD) + np.array(MEAN)), np.asarray(label)


def opencv(image, label, size, drawn, side):
    """PFENet's steps one after the other; the crop is the first candidate."""
    cv2 = pytest.importorskip("cv2")
    image, label = image[: size[0], : size[1]].astype(np.float32), label[: size[0], : size[1]]
    factor, degrees = float(drawn.scale), float(drawn.degrees)
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    h, w = label.shape
    if degrees:
        matrix = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1)
        constant = {"borderMode": cv2.BORDER_CONSTANT}
        image = cv2.warpAffine(image, matrix, (w, h), flags=cv2.INTER_LINEAR, borderValue=FILL, **constant)
        label = cv2.warpAffine(label, matrix, (w, h), flags=cv2.INTER_NEAREST, borderValue=255, **constant)
    if drawn.blur:
        image = cv2.GaussianBlur(image, (5, 5), 0, borderType=cv2.BORDER_REFLECT_101)
    if drawn.flip:
        image, label = cv2.flip(image, 1), cv2.flip(label, 1)
    down, right = max(side - h, 0), max(side - w, 0)
    border = (down // 2, down - down // 2, right // 2, right - right // 2, cv2.BORDER_CONSTANT)
    image, label = cv2.copyMakeBorder(image, *border, value=FILL), cv2.copyMakeBorder(label, *border, value=255)
    top, left = (int(u * (n - side + 1)) for u, n in zip(drawn.crops[0], label.shape, strict=True))
    return image[top : top + side, left : left + side], label[top : top + side, left : left + side]


PARTS = {
    "nothing": {},
    "enlarged": {"scale": 1.0731},
    "reduced": {"scale": 0.9127},
    "turned left": {"degrees": 7.3},
    "turned right": {"degrees": -9.7},
    "blurred": {"blur": True},
    "flipped": {"flip": True},
    "all": {"scale": 1.0871, "degrees": -8.3, "blur": True, "flip": True},
    "all, reduced": {"scale": 0.9371, "degrees": 5.9, "blur": True, "flip": True},
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("size", [(96, 70), (64, 91), (33, 40)])
@pytest.mark.parametrize("side", [41, 89])
def test_equals_opencv(part, size, side):
    image, label = noise(*size)
    drawn = parameters(**PARTS[part], crops=[(0.73, 0.21)])
    expected_image, expected_label = opencv(image, label, size, drawn, side)
    got_image, got_label = ours(image, label, size, drawn, side)
    # OpenCV before version 5 rounds a rotation's coordinates to 1/32 pixel: noise shows it, by 255 / 32 at most a tap.
    difference = np.abs(got_image - expected_image)
    turned = "degrees" in PARTS[part]
    assert difference.max() < (20 if turned else 0.01)
    assert difference.mean() < (1.5 if turned else 0.001)
    assert np.mean(got_label != expected_label) <= (0.005 if turned else 0)


def test_rotation_blends_with_the_mean_colour_at_the_border_where_labels_are_ignored():
    image, label = np.full((SQUARE, SQUARE, 3), 255, np.uint8), np.ones((SQUARE, SQUARE), np.uint8)
    got, got_label = ours(image, label, (89, 89), parameters(degrees=10.0), 89)
    np.testing.assert_allclose(got[0, 0], FILL, atol=1e-3)
    assert got_label[0, 0] == 255 and got_label[44, 44] == 1
    between = (got > np.array(FILL) + 1) & (got < 254)
    assert 50 < between[..., 0].sum() < 1000


def test_padding_is_centred_with_the_odd_pixel_below_and_right():
    image, label = np.full((SQUARE, SQUARE, 3), 255, np.uint8), np.ones((SQUARE, SQUARE), np.uint8)
    got, got_label = ours(image, label, (38, 39), parameters(), 41)  # 3 rows: 1 above, 2 below; 2 columns: 1 and 1
    inside = np.zeros((41, 41), bool)
    inside[1:39, 1:40] = True
    np.testing.assert_array_equal(got_label, np.where(inside, 1, 255))
    np.testing.assert_allclose(got, np.where(inside[..., None], 255.0, FILL), atol=1e-3)


FOUR = [(0.999, 0.999), (0.5, 0.0), (0.0, 0.0), (0.999, 0.0)]
ENDS = [(0.0, 0.0), (0.9, 0.9)]
COLUMN = dict.fromkeys(range(10), 1)
CROPS = [  # foreground pixels of some of 10 rows, their length, S, candidates, changes, and the chosen corner
    # 4 x 4 crops hold at most 4 of 10 and 8.5 are wanted: the last one stays.
    ({0: 8, 9: 2}, 10, 4, FOUR, {}, [6, 0]),
    # 9 x 9 crops: rows 0..8 hold 8, rows 1..9 hold 2; still the last one. 8 are enough for a fraction of 0.8.
    ({0: 8, 9: 2}, 10, 9, FOUR, {}, [1, 0]),
    ({0: 8, 9: 2}, 10, 9, FOUR, {"fraction": 0.8}, [0, 0]),
    # 17 of 20 are exactly 85%, 16 of 19 are fewer.
    ({0: 9, 1: 8, 9: 3}, 9, 9, ENDS, {}, [0, 0]),
    ({0: 9, 1: 7, 9: 3}, 9, 9, ENDS, {}, [1, 0]),
    # Without foreground the first one will do.
    ({}, 10, 4, [(0.5, 0.9), (0, 0)], {}, [3, 6]),
    # Flipped, the first column is the last one; corners 0 and 6.
    (COLUMN, 10, 4, ENDS, {"fraction": 0.4, "flip": True}, [6, 6]),
    (COLUMN, 10, 4, ENDS[::-1], {"fraction": 0.4}, [0, 0]),
    # The canvas beyond 10 x 12 pixels is not cropped from.
    ({}, 12, 9, [(0, 0)], {"flip": True}, [0, 0]),
    ({}, 12, 9, [(0.999, 0.999)], {"flip": True}, [1, 3]),
    # Smaller than S: the corner lies in the padding, 2 above and 1 left.
    ({}, 12, 15, [(0.3, 0.8)], {}, [-2, -1]),
]
choose = jax.jit(choose_crop)


@pytest.mark.parametrize(("rows", "width", "side", "crops", "changes", "corner"), CROPS)
def test_the_first_crop_that_keeps_enough_foreground_is_taken(rows, width, side, crops, changes, corner):
    canvas = np.zeros((20, 20), bool)
    for row, length in rows.items():
        canvas[row, :length] = True
    crops = [*crops, *[crops[-1]] * (4 - len(crops))]  # repeats of the last candidate save compilations
    drawn = parameters(flip=changes.get("flip", False), crops=crops)
    assert choose(canvas, np.array([10, width]), drawn, side, changes.get("fraction", 0.85)).tolist() == corner


def test_every_corner_is_possible_up_to_the_last_row_and_column():
    empty, grid = jnp.zeros((10, 12), bool), np.arange(0, 1, 0.01)
    draws = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 1, 2)
    drawn = Parameters(1.0, 0.0, False, False, draws.astype(np.float32))
    axes = Parameters(None, None, None, None, 0)
    corner = jax.jit(jax.vmap(functools.partial(choose_crop, side=9, fraction=0.85), (None, None, axes)))
    corners, counts = np.unique(corner(empty, jnp.array([10, 12]), drawn), axis=0, return_counts=True)
    assert corners.tolist() == [[y, x] for y in range(2) for x in range(4)]
    np.testing.assert_array_equal(counts, 50 * 25)


OPTIONS = options_of(33)
augmented = jax.jit(lambda key, raw: augment(key, raw, OPTIONS))


def raw_episodes(b, k, seed=0):
    random = np.random.default_rng(seed)
    labels = (random.random((b, 1 + k, SQUARE, SQUARE)) < 0.3).astype(np.uint8)
    images = random.integers(0, 256, (b, 1 + k, SQUARE, SQUARE, 3), dtype=np.uint8)
    sizes = random.integers(60, SQUARE + 1, (b, 1 + k, 2), dtype=np.int32)
    return RawEpisodes(images, labels, sizes)


def test_an_episode_has_its_documented_shapes_types_and_values():
    episode = augmented(jax.random.key(0), raw_episodes(8, 2))
    assert (episode.query_image.shape, episode.query_image.dtype) == ((8, 33, 33, 3), jnp.float32)
    assert (episode.query_label.shape, episode.query_label.dtype) == ((8, 33, 33), jnp.int32)
    assert episode.support_images.shape == (8, 2, 33, 33, 3)
    assert episode.support_labels.shape == (8, 2, 33, 33)
    assert set(np.unique(episode.support_labels)) <= {0, 1, 255}
    assert np.abs(episode.query_image).max() < 2.7


def test_every_image_of_every_episode_has_its_own_draws():
    image, label = noise(SQUARE, SQUARE)
    size = np.array([SQUARE, SQUARE], np.int32)
    alike = RawEpisodes(*(np.tile(x, (8, 3, *[1] * x.ndim)) for x in (image, label, size)))
    episode = jax.device_get(augmented(jax.random.key(3), alike))
    results = [*episode.query_image[:2], *episode.support_images[:2].reshape(4, 33, 33, 3)]
    for i in range(6):
        for j in range(i):
            assert not np.allclose(results[i], results[j])


def test_an_episode_does_not_depend_on_other_episodes_or_devices():
    raw = raw_episodes(8, 2)
    expected = augmented(jax.random.key(1), raw)
    other = jax.tree.map(lambda ours, theirs: np.concatenate([ours[:4], theirs[4:]]), raw, raw_episodes(8, 2, seed=9))
    first = jax.tree.map(lambda x: np.asarray(x)[:4], (expected, augmented(jax.random.key(1), other)))
    jax.tree.map(np.testing.assert_array_equal, *first)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = augmented(jax.random.key(1), jax.device_put(raw, split))
    assert spread.query_image.sharding.is_equivalent_to(split, 4)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), expected, spread)


def test_draws_cover_their_ranges_with_their_probabilities():
    options = options_of(33, rotate_probability=0.25, flip_probability=0.75)
    keys = jax.random.split(jax.random.key(0), (4000, 6))
    drawn = jax.jit(jax.vmap(lambda keys: draw_parameters(keys, options)))(keys)
    assert 0.9 <= drawn.scale.min() < 0.901 and 1.099 < drawn.scale.max() <= 1.1
    turned = drawn.degrees[drawn.degrees != 0]
    assert abs(len(turned) / 4000 - 0.25) < 0.035  # five standard deviations
    assert -10 <= turned.min() < -9.8 and 9.8 < turned.max() <= 10 and abs(turned.mean()) < 1
    assert abs(drawn.blur.mean() - 0.5) < 0.04
    assert abs(drawn.flip.mean() - 0.75) < 0.035
    assert drawn.crops.shape == (4000, 32, 2)
    assert drawn.crops.min() >= 0 and drawn.crops.max() < 1
    # Each part has its own key: nothing is correlated.
    columns = [drawn.scale, drawn.degrees, drawn.blur, drawn.flip, drawn.crops[:, 0, 0], drawn.crops[:, 1, 1]]
    table = np.corrcoef(np.stack([np.asarray(c, np.float64) for c in columns]))
    assert np.abs(table - np.eye(len(columns))).max() < 0.08
