"""Batches gathered from device memory against those read from the host, and the check of free memory."""

import dataclasses
from unittest import mock

import jax
import numpy as np
import pytest

from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.devices import data_mesh, shardings
from mmnet_jax.errors import UserError
from mmnet_jax.features import resident as module
from mmnet_jax.features.resident import free_memory, resident
from mmnet_jax.features.source import image_source
from mmnet_jax.features.store import stored_sources
from tests.data.synthetic import split_of_masks
from tests.tiny import tiny_network
from tests.training.tiny_training import tiny_config, tiny_dataset

SPLIT = tiny_dataset().train
SPECS = [EpisodeSpec(0, 1, (2, 4)), EpisodeSpec(6, 11, (7, 3)), EpisodeSpec(3, 2, (1, 5)), EpisodeSpec(4, 1, (6, 6))]
"""Image 3 does not hold class 11, and image 6 not class 1."""
EVERYWHERE, BY_ROW = shardings(data_mesh(4))


def stored(folder, mask_level3=False):
    config = tiny_config()
    config.data.data_dir = str(folder)
    model, variables = tiny_network()
    model = model.clone(mask_level3=mask_level3)
    return stored_sources(config, model, variables, "0" * 64, [SPLIT], lambda line: None)[0]


def one_class_split():
    """Images 0 and 2 are of class 3, image 1 of class 5; their masks hold 0, 1 and 255."""
    split = split_of_masks(
        [np.array([[1, 0, 255]], np.uint8), np.array([[0], [1]], np.uint8), np.eye(3, dtype=np.uint8)]
    )
    counts = np.zeros((3, 21), np.int64)
    counts[[0, 1, 2], [3, 5, 3]] = 1
    return dataclasses.replace(split, counts=counts, one_class=True)


def assert_same_batches(source, split, specs):
    held = resident(source, split, EVERYWHERE, lambda line: None)
    expected = source.place(source.load(specs), BY_ROW)
    batch = held.place(held.load(specs), BY_ROW)
    assert jax.tree.structure(batch) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(batch), jax.tree.leaves(expected), strict=True):
        assert (ours.dtype, ours.sharding) == (theirs.dtype, BY_ROW)
        np.testing.assert_array_equal(ours, theirs)


def test_images_labels_and_sizes_equal_those_read_and_are_split_over_the_devices():
    assert BY_ROW.mesh.size == 4
    assert_same_batches(image_source(SPLIT, 33), SPLIT, SPECS)


def test_masks_of_one_class_images_give_labels():
    split = one_class_split()
    specs = [EpisodeSpec(0, 3, (2,)), EpisodeSpec(1, 5, (0,)), EpisodeSpec(1, 3, (2,)), EpisodeSpec(2, 3, (0,))]
    assert_same_batches(image_source(split, 9), split, specs)


@pytest.mark.parametrize("mask_level3", [False, True])
def test_stored_features_equal_those_read(tmp_path, mask_level3):
    assert_same_batches(stored(tmp_path, mask_level3), SPLIT, SPECS)


def test_each_image_is_read_once_and_batches_are_positions(monkeypatch):
    read, lines = [], []
    original = Split.record
    monkeypatch.setattr(Split, "record", lambda split, i: read.append(i) or original(split, i))
    source = resident(image_source(SPLIT, 33), SPLIT, EVERYWHERE, lines.append)
    assert set(read) == set(range(8)) and lines[-1].startswith("train in device memory: image 8/8")
    read.clear()
    batch = source.load(SPECS)
    assert [leaf.shape for leaf in jax.tree.leaves(batch)] == [(4, 3), (4, 3)]
    assert source.place(batch, BY_ROW).images.shape == (4, 3, 48, 48, 3) and not read


def test_a_split_that_does_not_fit_is_refused_after_reading_one_image(monkeypatch):
    read = []
    original = Split.read_image
    monkeypatch.setattr(Split, "read_image", lambda split, i: read.append(i) or original(split, i))
    # 8 images of 48 x 48 pixels, 3 bytes of image and 1 of mask, and 8 of size with either
    needed = 8 * (48 * 48 * 4 + 16)
    monkeypatch.setattr(module, "free_memory", lambda device: needed)
    resident(image_source(SPLIT, 33), SPLIT, EVERYWHERE, lambda line: None)
    read.clear()
    monkeypatch.setattr(module, "free_memory", lambda device: needed - 9_000)
    kept = r"^data\.resident keeps 0\.07 MB in the memory of each device, which has 0\.06 MB free; set it to False"
    with pytest.raises(UserError, match=kept):
        resident(image_source(SPLIT, 33), SPLIT, EVERYWHERE, lambda line: None)
    assert read == [0]


def test_free_memory_is_a_gpus_own_or_a_share_of_the_hosts():
    gpu = mock.Mock(jax.Device, memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 30})
    assert free_memory(gpu) == 70
    assert 2**20 < free_memory(jax.devices()[0]) < 2**45
