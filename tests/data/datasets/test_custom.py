"""A user's own dataset: index masks or class folders, its classes, folds and lists."""

import shutil

import numpy as np
import pytest

from mmnet_jax.config import from_dict, resolve
from mmnet_jax.data.check import check
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.episodes import training_index
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest, manifest_text, read_manifest
from tests.data.synthetic import a_mask, encoded, jpeg, palette_png

NAMES = ["cup", "fork", "old spoon", "plate", "pan"]
SIZE = 12, 16


def photograph(grey):
    return jpeg(np.full((*SIZE, 3), grey, np.uint8))


@pytest.fixture
def indexed(tmp_path):
    """Three images of each class; the third also holds the next class."""
    source = tmp_path / "source"
    for name in ("images", "masks"):
        (source / name).mkdir(parents=True)
    for i in range(15):
        mask = a_mask(*SIZE, 1 + i // 3)
        if i % 3 == 2 and i < 14:
            mask[-2:] = 2 + i // 3
        (source / "images" / f"img {i:02}.JPG").write_bytes(photograph(10 * i))
        (source / "masks" / f"img {i:02}.png").write_bytes(palette_png(mask))
    (source / "classes.txt").write_text("background\n" + "\n".join(NAMES))
    return source


@pytest.fixture
def class_folders(tmp_path):
    """Three images of each class, with masks of several kinds."""
    source = tmp_path / "source"
    for c, name in enumerate(NAMES):
        (source / name).mkdir(parents=True)
        mask = a_mask(*SIZE, 1) == 1
        for i, foreground in enumerate([1, 255, 200]):
            (source / name / f"{i}.jpg").write_bytes(photograph(30 * c + i))
            (source / name / f"{i}{'_mask' if i else ''}.png").write_bytes(encoded(np.uint8(mask * foreground)))
    (source / ".cache").mkdir()
    return source


def prepared(source, data, **options):
    prepare("custom", source, data, **options)
    return open_dataset("custom", data, "folder")


def test_index_masks_with_their_class_names(indexed, tmp_path):
    dataset = prepared(indexed, tmp_path / "data")
    assert dataset.class_names == ["background", *NAMES] and not dataset.spec.one_class
    assert list(dataset.train.ids) == list(dataset.test.ids) == [f"img {i:02}" for i in range(15)]
    np.testing.assert_array_equal(dataset.test.read_mask(3), a_mask(*SIZE, 2))
    assert dataset.test.read_label(2, 2)[-1].all() and dataset.test.counts[2, 2] == 32
    check(tmp_path / "data", print)


def test_without_lists_training_can_leave_out_images_with_novel_pixels(indexed, tmp_path):
    dataset = prepared(indexed, tmp_path / "data")
    assert [dataset.classes(fold, "novel") for fold in range(4)] == [(1, 2), (3,), (4,), (5,)]
    admitted = training_index(dataset, 1, 1, 1, drop_novel=True).admitted  # class 3 is in images 5 to 8
    assert admitted.tolist() == [0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14]
    assert training_index(dataset, 1, 1, 1).admitted.tolist() == sorted({*range(15)} - {6, 7})


def test_class_folders_with_masks_of_several_kinds(class_folders, tmp_path):
    dataset = prepared(class_folders, tmp_path / "data")
    assert dataset.class_names == ["background", *sorted(NAMES)] and dataset.spec.one_class
    assert list(dataset.train.ids) == [f"{name}/{i}" for name in sorted(NAMES) for i in range(3)]
    for i, identity in enumerate(dataset.test.ids):
        class_id = dataset.class_names.index(identity.split("/")[0])
        np.testing.assert_array_equal(dataset.test.read_label(i, class_id), a_mask(*SIZE, 1) == 1)
        assert dataset.test.read_image(i).shape == (*SIZE, 3)
    manifest = draw_manifest(dataset, fold=0, shots=1, protocol="pfenet", seeds=(0,), min_pixels=1)
    file = tmp_path / "manifest.json"
    file.write_text(manifest_text(manifest))
    assert len(manifest.episodes) == 1000 and read_manifest(file, dataset=dataset) == manifest


def test_an_image_may_be_a_png_beside_its_mask(class_folders, tmp_path):
    folder = class_folders / "cup"
    for i in range(3):
        (folder / f"{i}.jpg").unlink()
        (folder / f"{i}.png").write_bytes(encoded(np.zeros((*SIZE, 3), np.uint8)))
    (folder / "0_mask.png").write_bytes(encoded(a_mask(*SIZE, 1)))
    (folder / "alone.png").write_bytes(encoded(np.zeros((*SIZE, 3), np.uint8)))
    dataset = prepared(class_folders, tmp_path / "data")
    assert [name for name in dataset.train.ids if name.startswith("cup")] == ["cup/0", "cup/1", "cup/2"]
    assert "train: found 15 of 16 images (1 more without a mask)" in summary("custom", tmp_path / "data", "folder")


def test_folds_are_equal_parts_or_those_of_a_file(class_folders, tmp_path):
    halves = prepared(class_folders, tmp_path / "halves", folds=2)
    assert [halves.classes(fold, "novel") for fold in range(halves.spec.folds)] == [(1, 2, 3), (4, 5)]
    (class_folders / "folds.txt").write_text("plate, cup\nold spoon\n")
    dataset = prepared(class_folders, tmp_path / "data")
    assert [dataset.classes(fold, "novel") for fold in (0, 1)] == [(1, 5), (3,)]
    text = summary("custom", tmp_path / "data", "folder")
    assert "\nfold 0 holds out cup, plate\nfold 1 holds out old spoon\n" in text
    before, now = halves.fingerprints(), dataset.fingerprints()
    assert {name for name in now if now[name] != before[name]} == {"classes"}  # so that a result names its folds
    assert dataset.classes(1, "base") == (1, 2, 4, 5) and dataset.spec.folds == 2
    with pytest.raises(UserError, match=r"^fold of custom must be 0 to 1, but is 2\.$"):
        dataset.classes(2, "novel")


def test_lists_divide_the_images(indexed, tmp_path):
    (indexed / "train.txt").write_text("\n".join(f"img {i:02}.JPG" for i in range(14, 1, -1)))
    (indexed / "val.txt").write_text("img 00\r\nimages/img 01.jpg\r\nnone\r\n")
    lines = []
    dataset = prepared(indexed, tmp_path / "data", say=lines.append)
    assert list(dataset.test.ids) == ["img 00", "img 01"]
    assert list(dataset.train.ids) == [f"img {i:02}" for i in range(14, 1, -1)]
    assert "custom: not found, or without a mask, for the val split: none" in lines
    text = summary("custom", tmp_path / "data", "folder")
    few = "a 1-shot episode needs 2 of a class"
    assert f"\ntoo few images in train; {few}: cup (1)\n" in text
    assert f"\ntoo few images in val; {few}: fork (0), old spoon (0), plate (0), pan (0)\n" in text
    assert text.endswith(" --config.model.weights=FILE.safetensors") and "--config=configs/custom.py" in text


def test_a_single_class_is_novel_and_leaves_no_base_class(class_folders, tmp_path):
    for name in NAMES[1:]:
        shutil.rmtree(class_folders / name)
    dataset = prepared(class_folders, tmp_path / "data")
    assert dataset.classes(0, "novel") == (1,) and not dataset.classes(0, "base") and dataset.spec.folds == 1
    assert "\nfold 0 holds out cup, which leaves no class" in summary("custom", tmp_path / "data", "folder")


INDEXED = [
    ({"masks": None}, r"source has no masks; a dataset holds images/, masks/ and classes\.txt, or one folder"),
    ({"classes.txt": None}, r"source has no classes\.txt; a dataset holds"),
    ({"classes.txt": "cup\nfork"}, r"masks/img 05\.png holds index 3; its classes are 0 to 2, and 255 is ignored"),
    ({"classes.txt": "cup\nfork\ncup"}, r"classes\.txt holds 'cup' twice\."),
    ({"classes.txt": "background"}, r"classes\.txt names 0 classes, but must name 1 to 254 besides the"),
    ({"train.txt": "img 01"}, r"train\.txt needs \S+/val\.txt beside it; without both lists every"),
    (
        {"train.txt": "a\nimg 02", "val.txt": "img 02"},
        r"train\.txt and val\.txt of \S+ share 1 images, such as img 02; ",
    ),
    ({"folds.txt": "cup\nknife"}, r"folds\.txt names the class 'knife', but the classes are cup, fork, old spoon, "),
    ({"folds.txt": "cup, pan\nfork, cup"}, r"folds\.txt holds out the class 'cup' twice\."),
]
FOLDERS = [
    ({"val.txt": "0.jpg"}, r"val\.txt does not apply to class folders, whose images are in both splits"),
    ({"pan/0.png": encoded(np.zeros(SIZE, np.uint8))}, r"pan/0\.png has no foreground: every pixel is"),
]
MISTAKES = [("indexed", *mistake) for mistake in INDEXED] + [("class_folders", *mistake) for mistake in FOLDERS]


@pytest.mark.parametrize(("layout", "changes", "sentence"), MISTAKES)
def test_mistakes_are_errors_that_leave_no_dataset(layout, changes, sentence, request, tmp_path):
    source = request.getfixturevalue(layout)
    for name, content in changes.items():
        if content is None:
            (source / name).rename(tmp_path / name)
        else:
            (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=sentence):
        prepare("custom", source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_more_folds_than_classes_and_two_divisions_are_errors(class_folders, tmp_path):
    with pytest.raises(UserError, match=r"^--folds=6, but there are only 5 classes to hold out\.$"):
        prepare("custom", class_folders, tmp_path / "data", folds=6)
    (class_folders / "folds.txt").write_text("cup")
    with pytest.raises(UserError, match=r"^--folds=2 contradicts \S+folds\.txt, which divides the classes; give only"):
        prepare("custom", class_folders, tmp_path / "data", folds=2)


def test_folders_without_a_dataset_are_errors(tmp_path):
    source, notes = tmp_path / "source", tmp_path / "source" / "notes"
    notes.mkdir(parents=True)
    (notes / "a.jpg").write_bytes(b"")
    sentence = r"holds no image of custom \(folder\) with its mask; the mask of NAME\.jpg is NAME\.png or NAME_mask"
    with pytest.raises(UserError, match=sentence):
        prepare("custom", source, tmp_path / "data")
    notes.rename(source / ".notes")
    with pytest.raises(UserError, match=r"source holds no folders; a dataset holds images/, masks/ and classes\.txt"):
        prepare("custom", source, tmp_path / "data")


def test_folds_are_checked_once_the_dataset_is_open():
    assert resolve(from_dict({"fold": 5, "data": {"dataset": "custom"}})).fold == 5
    with pytest.raises(UserError, match=r"^fold of custom must be 0 or more, but is -1\.$"):
        resolve(from_dict({"fold": -1, "data": {"dataset": "custom"}}))
