"""FSS-1000 from class folders of made-up images."""

import numpy as np
import pytest
from PIL import Image

from mmnet_jax.data.check import check
from mmnet_jax.data.dataset import listed_dataset, open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.lists import packaged_names
from mmnet_jax.data.episodes import EpisodeIndex, training_index
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from tests.data.synthetic import encoded, jpeg

SPEC = DATASETS["fss1000"]
SIZE = 12, 16
SHAPES = {"taxi": np.s_[2:5, 3:9], "fountain": np.s_[6:], "bus": np.s_[:, :4], "swan": np.s_[1:3], "mortar": np.s_[4:5]}
"""Region of the object in each class: train (taxi, fountain), test (bus, swan) and val (mortar) classes."""


def truth(name):
    mask = np.zeros(SIZE, np.uint8)
    mask[SHAPES[name]] = 1
    return mask


def write_class(folder, name, images=10):
    """Images of a class with RGBA masks of greys about 128 and an alpha channel that is not a mask."""
    (folder / name).mkdir(parents=True)
    grey = np.where(truth(name), 128, 127).astype(np.uint8)
    alpha = np.tile(np.uint8([0, 255]), (SIZE[0], SIZE[1] // 2))
    mask = Image.fromarray(np.stack([grey, grey, grey, alpha], axis=-1))
    for number in range(1, images + 1):
        (folder / name / f"{number}.jpg").write_bytes(jpeg(np.full((*SIZE, 3), 20 * number, np.uint8)))
        (folder / name / f"{number}.png").write_bytes(encoded(mask))


@pytest.fixture
def source(tmp_path):
    for name in SHAPES:
        write_class(tmp_path / "fewshot_data", name)
    return tmp_path / "fewshot_data"


def prepared(source, data, variant="protocol"):
    prepare("fss1000", source, data, variant)
    return open_dataset("fss1000", data, variant)


def test_the_published_classes_are_520_to_train_240_to_select_and_240_to_test():
    assert [len(SPEC.classes(0, part)) for part in ("base", "val", "novel")] == [520, 240, 240]
    every = sorted(c for part in ("base", "val", "novel") for c in SPEC.classes(0, part))
    assert every == list(range(1, 1001)) and SPEC.folds == 1
    names = [SPEC.class_names[c] for c in SPEC.classes(0, "novel")]
    assert names == sorted(packaged_names("fss1000_test")) and names[0] == "abe's_flyingfish"
    assert SPEC.class_names[1:] == tuple(sorted(SPEC.class_names[1:]))


def test_images_are_prepared_in_the_order_of_classes_and_file_names(source, tmp_path):
    dataset = prepared(tmp_path, tmp_path / "data")  # the folder above, as the archive unpacks
    order = [str(n) for n in (1, 10, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert list(dataset.train.ids) == [f"{name}/{n}" for name in ("fountain", "taxi") for n in order]
    assert list(dataset.test.ids) == [f"{name}/{n}" for name in ("bus", "mortar", "swan") for n in order]
    published = listed_dataset("fss1000", "protocol").test.ids
    assert len(published) == 4800 and [i for i in published if i in set(dataset.test.ids)] == list(dataset.test.ids)
    assert dataset.spec.one_class and dataset.train.one_class and dataset.classes(0, "val") == SPEC.classes(0, "val")
    for split in (dataset.train, dataset.test):
        for i, identity in enumerate(split.ids):
            name = identity.split("/")[0]
            class_id = dataset.class_names.index(name)
            assert np.flatnonzero(split.counts[i]).tolist() == [0, class_id]
            image, label = split.read(i, class_id)
            np.testing.assert_array_equal(label, truth(name))
            assert label.sum() == split.counts[i, class_id] and image.shape == (*SIZE, 3)
            assert not split.read_label(i, class_id - 1).any()
    check(tmp_path / "data", print)


def test_episodes_take_every_test_image_and_no_image_of_a_class_to_select_on(source, tmp_path):
    dataset = prepared(source, tmp_path / "data")
    index = EpisodeIndex.build(dataset.test, dataset.classes(0, "novel"), SPEC.min_pixels, 1)
    assert [dataset.test.ids[i].split("/")[0] for i in index.admitted] == ["bus"] * 10 + ["swan"] * 10
    selection = EpisodeIndex.build(dataset.test, dataset.classes(0, "val"), SPEC.min_pixels, 1)
    assert {dataset.test.ids[i].split("/")[0] for i in selection.admitted} == {"mortar"}
    assert len(training_index(dataset, 0, 5, SPEC.min_pixels).admitted) == 20


def test_missing_files_are_named_and_counted(source, tmp_path):
    (source / "bus/10.png").unlink()
    (source / "taxi/3.jpg").unlink()
    lines = []
    prepare("fss1000", source, tmp_path / "data", say=lines.append)
    first = min(packaged_names("fss1000_test") + packaged_names("fss1000_val"))
    line = f"fss1000: not found, or without a mask, for the val split: {first}/1, {first}/10, "
    assert any(said.startswith(line) and said.endswith(" and 4,766 more") for said in lines)
    text = summary("fss1000", tmp_path / "data", "protocol")
    assert "train: found 19 of 5,200 images\nval: found 29 of 4,800 images (1 more without a mask)" in text
    assert "classes with an image: 2 in train and 3 in val, of 1,000" in text
    assert "--config=configs/fss1000.py" in text.splitlines()[-1]


def test_a_folder_may_have_its_own_lists_of_classes(source, tmp_path):
    (source / "train.txt").write_text("swan\r\nbus\r\n")
    (source / "test.txt").write_text("taxi\n\n")
    dataset = prepared(source, tmp_path / "data", "folder")
    assert dataset.class_names == ["background", "bus", "swan", "taxi"] and dataset.spec.folds == 1
    assert [dataset.classes(0, part) for part in ("base", "novel", "val")] == [(1, 2), (3,), ()]
    assert len(dataset.train) == 20 and {name.split("/")[0] for name in dataset.test.ids} == {"taxi"}
    np.testing.assert_array_equal(dataset.test.read_label(0, 3), truth("taxi"))
    text = summary("fss1000", tmp_path / "data", "folder")
    assert "\ntaxi            0           0     10          10" in text and " --config.data.split=folder " in text
    (source / "val.txt").write_text("mortar")
    with_val = prepared(source, tmp_path / "other", "folder")
    assert with_val.classes(0, "val") == (2,) and with_val.classes(0, "base") == (1, 3)
    assert len(with_val.test) == 20


def test_a_mask_without_foreground_is_named(source, tmp_path):
    (source / "swan/7.png").write_bytes(encoded(np.full(SIZE, 127, np.uint8)))
    sentence = r"swan/7.png has no foreground: its grey values reach 127, and 128 is needed; --on_error=skip"
    with pytest.raises(UserError, match=sentence):
        prepare("fss1000", source, tmp_path / "data")


MISTAKES = [
    ({}, r"train\.txt does not exist; --split=folder reads the folder's own lists of classes\."),
    ({"train": "bus", "test": "bus"}, r"two of the lists train\.txt, val\.txt, test\.txt of \S+ hold bus\."),
    ({"train": "bus", "test": "cow"}, r"test\.txt names the class cow, but \S+/cow is not a folder\."),
    ({"train": "bus\nbus", "test": "swan"}, r"train\.txt holds 'bus' twice\."),
    ({"train": "bus", "test": "\n"}, r"test\.txt is empty\."),
]


@pytest.mark.parametrize(("lists", "sentence"), MISTAKES)
def test_mistakes_in_own_lists_are_errors(source, tmp_path, lists, sentence):
    for part, text in lists.items():
        (source / f"{part}.txt").write_text(text)
    with pytest.raises(UserError, match=sentence):
        prepare("fss1000", source, tmp_path / "data", "folder")
    assert not (tmp_path / "data").exists()


def test_a_folder_without_the_dataset_is_an_error(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(
        UserError, match=r"holds no image of fss1000 \(protocol\) with its mask; give the folder fewshot"
    ):
        prepare("fss1000", tmp_path, tmp_path / "data")


def test_the_real_sample_classes(real_data, tmp_path):
    dataset = prepared(real_data / "fss1000/fewshot_data", tmp_path / "data")
    assert len(dataset.train) == 20 and not len(dataset.test)
    for i, identity in enumerate(dataset.train.ids):
        mask = Image.open(real_data / "fss1000/fewshot_data" / f"{identity}.png").convert("L")
        class_id = dataset.class_names.index(identity.split("/")[0])
        np.testing.assert_array_equal(dataset.train.read_label(i, class_id), np.asarray(mask) >= 128)
