"""Real photographs: prepared, indexed, drawn, loaded, augmented and fitted."""

import csv
import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from mmnet_jax.config import get_config
from mmnet_jax.config.values import augmentation, dataset_choice
from mmnet_jax.data.batches import training_batches
from mmnet_jax.data.dataset import Dataset, Split, open_dataset
from mmnet_jax.data.datasets.lists import pascal_counts
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.episodes import training_episode, training_index
from mmnet_jax.data.prepare import prepare, summary
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.transforms.evaluation import test_transform as fit_episodes  # pytest would collect it
from mmnet_jax.data.transforms.training import augment
from mmnet_jax.evaluation.manifest import draw_manifest, read_manifest
from tests.data.synthetic import voc_folder

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def listed(real_data):
    """All photographs of the folder's own lists, by the packaged pixel counts."""
    counts = pascal_counts()
    lists = real_data / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    ids = {split: (lists / f"{split}.txt").read_text().split() for split in ("train", "val")}
    splits = (Split(name, own, np.stack([counts[i] for i in own]), [], 1) for name, own in ids.items())
    return Dataset(PASCAL5I, *splits, "folder", "contiguous")


@pytest.fixture(scope="module")
def prepared(real_data, listed, tmp_path_factory):
    """A config for every tenth photograph, prepared."""
    folder, source = tmp_path_factory.mktemp("photographs"), real_data / "VOCdevkit/VOC2012"
    config = get_config()
    config.fold = 1
    config.data.update(data_dir=str(folder / "data"), split="folder", image_size=97)
    config.data.scale = (0.18, 0.22)  # 97 px crops of 500 px photographs would hold little of anything
    voc = voc_folder(folder, *(list(split.ids)[::10] for split in (listed.train, listed.test)))
    for part in ("JPEGImages", "SegmentationClassAug"):
        (voc / part).rmdir()
        (voc / part).symlink_to(source / part)
    prepare("pascal5i", voc, config.data.data_dir, "folder")
    return config


def test_photographs_have_the_packaged_pixel_counts(prepared, listed, real_data):
    dataset = open_dataset(*dataset_choice(prepared))
    assert "train: found 58 of 58 images" in summary("pascal5i", prepared.data.data_dir, "folder")
    for ours, whole in ((dataset.train, listed.train), (dataset.test, listed.test)):
        assert list(ours.ids) == list(whole.ids)[::10]
        np.testing.assert_array_equal(ours.counts, whole.counts[::10])
    assert (len(listed.train), len(listed.test)) == (578, 497)
    with (real_data / "class_counts.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            c = int(row["id"])
            assert listed.class_names[c] == row["class"]
            assert c in listed.classes(int(row["fold"]), "novel")
            for split, name in ((listed.train, "train"), (listed.test, "val")):
                assert (split.counts[:, c] > 0).sum() == int(row[name])
                assert (split.counts[:, c] >= 2048).sum() == int(row[f"{name}>=2048px"])


@pytest.mark.parametrize(("fold", "shots"), [(1, 1), (2, 5)])
def test_the_episodes_of_earlier_results_are_drawn_again(listed, fold, shots):
    rules = {"protocol": "pfenet", "seeds": (321,), "min_pixels": 2048, "episodes": 1000}
    drawn = draw_manifest(listed, fold=fold, shots=shots, **rules)
    assert read_manifest(RESULTS / f"photographs/fold{fold}_{shots}shot.manifest.json", dataset=listed) == drawn


def test_episodes_of_photographs(prepared):
    dataset = open_dataset(*dataset_choice(prepared))
    index = training_index(dataset, 1, 1, 2048)
    assert not set(index.support_lists) & set(dataset.classes(1, "novel"))
    raw = next(training_batches(functools.partial(load_episodes, dataset.train), index, seed=7, batch_size=4))
    mean = 255 * np.array([0.485, 0.456, 0.406])

    for b in range(4):
        spec = training_episode(index, 7, b, 4)
        image, label = dataset.train.read(spec.query, spec.class_id)
        h, w = raw.sizes[b, 0]
        np.testing.assert_array_equal(raw.images[b, 0, :h, :w], image)
        assert (raw.labels[b, 0] == 1).sum() == dataset.train.counts[spec.query, spec.class_id]
        np.testing.assert_array_equal(raw.labels[b, 0, :h, :w], label)
        assert (raw.labels[b, 1:] == 1).sum() >= 2048

    fitted = jax.jit(functools.partial(fit_episodes, image_size=97))(raw)
    augmented = jax.jit(lambda key, raw: augment(key, raw, augmentation(prepared)))(jax.random.key(0), raw)
    for episode in (fitted, augmented):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(episode))
        assert ((episode.support_labels == 1).sum(axis=(1, 2, 3)) > 0).all()
    # Fitting keeps the mean colour of each photograph.
    for b in range(4):
        h, w = raw.sizes[b, 0]
        inside = np.asarray(fitted.query_label[b] != 255)
        known = raw.labels[b, 0, :h, :w] != 255
        before = raw.images[b, 0, :h, :w][known].mean(axis=0)
        after = 255 * np.array([0.229, 0.224, 0.225]) * np.asarray(fitted.query_image[b])[inside].mean(axis=0) + mean
        np.testing.assert_allclose(after, before, atol=3)
