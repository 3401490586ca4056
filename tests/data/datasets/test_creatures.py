"""The generated dataset: classes as combinations of parts, exact masks, and images fixed by the seed."""

from unittest import mock

import numpy as np
import pytest

from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.creatures import shapes
from mmnet_jax.data.datasets.creatures.anatomy import SPECIES
from mmnet_jax.data.datasets.creatures.builder import creatures, draw_example
from mmnet_jax.data.datasets.creatures.draws import Draws
from mmnet_jax.data.datasets.creatures.scene import SIDES, draw_scene, paint_creature, paint_foreground
from mmnet_jax.data.prepare import ensure_dataset, prepare
from mmnet_jax.errors import UserError

TRAIN, VAL = 6, 5
CREATURES = DATASETS["creatures"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A few prepared images of seed 4, and the lines logged."""
    choice, lines = ("creatures", tmp_path_factory.mktemp("data"), "seed4"), []
    with mock.patch.dict(DATASETS, {"creatures": creatures(train=TRAIN, val=VAL)}):
        assert ensure_dataset(*choice, lines.append)
    return choice, lines


def test_classes_differ_in_their_parts_and_base_classes_have_every_part_of_novel_ones():
    assert len({frozenset(parts) for parts in SPECIES.values()}) == len(set(CREATURES.class_names)) - 1 == 20
    for fold in range(4):
        classes = [CREATURES.classes(fold, part) for part in ("base", "novel")]
        base, novel = ([SPECIES[CREATURES.class_names[c]] for c in own] for own in classes)
        assert (len(base), len(novel)) == (15, 5) and set().union(*novel) <= set().union(*base)


def test_draws_are_those_of_the_raw_bits_and_stay_in_range():
    draws = Draws(3, 1, 4)
    raw = np.random.Philox(np.random.SeedSequence((3, 1, 4))).random_raw(2)
    assert draws.uniform(2, 4) == pytest.approx(2 + 2 * int(raw[0]) / 2**64, abs=1e-12)
    assert draws.whole(0, 9) == int(raw[1]) * 10 >> 64
    assert {draws.whole(-1, 1) for _ in range(99)} == {-1, 0, 1}
    assert sorted(draws.sample("abcd", 4)) == list("abcd")
    colours = np.array([draws.colour((0.5, 0.5), (0.8, 0.8)) for _ in range(99)])
    np.testing.assert_allclose(colours.max(1), 0.8)
    np.testing.assert_allclose(colours.min(1), 0.4)
    np.testing.assert_allclose(draws.colour((1, 1), (1, 1), (1 / 3, 1 / 3)), [0, 1, 0], atol=1e-9)


def test_shapes_by_hand():
    u, v = np.array([0.0, 0.9, 0.9, -2.0]), np.array([0.0, 0.0, 0.9, 0.0])
    assert shapes.ellipse(u, v, (0, 0), (1, 1)).tolist() == [True, True, False, False]
    assert shapes.box(u, v, (0, 0), (1.1, 1.1)).tolist() == [True, True, True, False]
    assert shapes.bar(u, v, (-2, 0), (0.5, 0), 0.5).tolist() == [True, True, False, True]
    triangle = [(-1, -1), (1, -1), (1, 1)]
    assert shapes.polygon(u, v + 0.5, triangle[::-1]).tolist() == shapes.polygon(u, v + 0.5, triangle).tolist()
    assert shapes.polygon(u + 0.2, v - 0.3, triangle).tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", range(1, 1 + len(SPECIES)))
def test_a_creature_is_masked_exactly_where_it_is_painted(kind):
    canvas, mask = np.full((90, 110, 3), np.nan), np.zeros((90, 110), np.uint8)
    paint_creature(canvas, mask, kind, 40.0, Draws(kind))
    painted = np.isfinite(canvas).all(-1)
    np.testing.assert_array_equal(mask, np.where(painted, kind, 0))
    assert 0.08 < painted.mean() < 0.8


def test_foreground_objects_are_masked_as_background():
    canvas, mask = np.full((90, 110, 3), np.nan), np.full((90, 110), 5, np.uint8)
    paint_foreground(canvas, mask, Draws(2))
    np.testing.assert_array_equal(mask == 0, np.isfinite(canvas).all(-1))
    assert 0 < (mask == 0).mean() < 0.5


def test_an_image_is_a_function_of_seed_part_and_number():
    image, mask = draw_scene(5, 0, 7)
    for pixels, again in zip((image, mask), draw_scene(5, 0, 7), strict=True):
        np.testing.assert_array_equal(pixels, again)
    for other in ((6, 0, 7), (5, 1, 7), (5, 0, 27)):
        assert draw_scene(*other)[0].shape != image.shape or (draw_scene(*other)[0] != image).mean() > 0.5
    assert image.dtype == mask.dtype == np.uint8
    assert all(SIDES[0] <= side <= SIDES[1] for side in mask.shape)


def test_each_class_is_the_main_one_of_one_in_twenty_images():
    masks = [draw_scene(0, 1, number)[1] for number in range(20)]
    shown = [(mask == 1 + number).mean() for number, mask in enumerate(masks)]
    assert np.median(shown) > 0.12 and min(shown) > 0.02


def test_a_prepared_dataset_holds_the_drawn_images(prepared):
    choice, lines = prepared
    assert lines[-1].startswith("creatures: image 11/11  ")
    assert not ensure_dataset(*choice, lines.append)
    dataset = open_dataset(*choice)
    assert SIDES[0] <= dataset.test.max_side == dataset.train.max_side <= SIDES[1]
    for part, (split, count) in enumerate(((dataset.train, TRAIN), (dataset.test, VAL))):
        image, mask = draw_scene(4, part, 3)
        np.testing.assert_array_equal(split.read_image(3), image)
        np.testing.assert_array_equal(split.read_mask(3), mask)
        np.testing.assert_array_equal(split.counts[3], np.bincount(mask.ravel(), minlength=21))
        images = [draw_example(4, part, number).image for number in range(count)]
        assert [record["image"] for record in split.records] == images
        assert [record["id"].decode() for record in split.records] == [f"{split.name}_{i:05}" for i in range(count)]


def test_a_folder_without_a_complete_dataset_is_an_error(tmp_path):
    (tmp_path / "creatures" / "seed0" / "1.0.0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"1\.0\.0 exists but holds no complete dataset; remove it"):
        prepare("creatures", None, tmp_path)


def test_wrong_variants_sources_and_missing_datasets_are_errors(tmp_path):
    for variant in ("protocol", "seed", "seed01"):
        with pytest.raises(UserError, match=rf"^creatures comes in the variants seed0, .* but not {variant}\.$"):
            prepare("creatures", None, tmp_path, variant)
    with pytest.raises(UserError, match=r"^creatures is generated and takes no --source\.$"):
        prepare("creatures", tmp_path, tmp_path, "seed0")
    with pytest.raises(UserError, match=r"python scripts/prepare_data.py creatures --data_dir=\S+ --seed=3$"):
        open_dataset("creatures", tmp_path, "seed3")
