"""A store's features against those that the network extracts from the images, and when it is made anew."""

from __future__ import annotations

import collections
import dataclasses
import re
from unittest import mock

import jax
import numpy as np
import pytest

from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.data.raw import load_episodes
from mmnet_jax.data.transforms.evaluation import test_transform as fit_episodes  # pytest would collect it
from mmnet_jax.errors import UserError
from mmnet_jax.features import store as store_module
from mmnet_jax.features.store import fingerprint, open_stores
from tests.tiny import tiny_network
from tests.training.tiny_training import tiny_config, tiny_dataset

SPECS = [EpisodeSpec(0, 1, (2, 4)), EpisodeSpec(6, 11, (7, 3))]
"""Of the training split; its image 3 does not hold class 11."""
SHA256 = "0" * 64


def configured(folder, support_level4="masked"):
    config = tiny_config()
    config.data.data_dir = str(folder)
    config.model.support_level4 = support_level4
    return config


def network(support_level4="masked"):
    return tiny_network(**{"model.support_level4": support_level4})


def opened(folder, *, support_level4="masked", sha256=SHA256, split=None, say=lambda line: None):
    model, variables = network(support_level4)
    splits = [tiny_dataset().train if split is None else split]
    return open_stores(configured(folder, support_level4), model, variables, sha256, splits, say)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("support_level4", ["masked", "masked_twice"])
def test_stored_episodes_are_what_the_network_extracts(folder, support_level4):
    split = tiny_dataset().train
    stored = opened(folder, support_level4=support_level4).load(SPECS)
    episode = fit_episodes(load_episodes(split, SPECS), 33)
    model, variables = network(support_level4)
    extracted = jax.jit(lambda v, e: model.apply(v, e, method="extract"))(variables, episode)
    found = jax.jit(lambda s: s.features())(stored)
    for field in dataclasses.fields(extracted):
        a, b = getattr(found, field.name), getattr(extracted, field.name)
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max()), err_msg=field.name)
    np.testing.assert_array_equal(stored.query_label, episode.query_label)
    np.testing.assert_array_equal(stored.support_labels, episode.support_labels)


def test_a_store_is_computed_once_and_the_masked_one_shares_its_levels(tmp_path):
    with mock.patch.object(store_module, "level_rows", wraps=store_module.level_rows) as computed:
        first, second = opened(tmp_path), opened(tmp_path)
        twice = opened(tmp_path, support_level4="masked_twice")
    assert computed.call_count == 1
    for store in (second, twice):
        np.testing.assert_array_equal(store.mid, first.mid)
    kept = sorted(path.name for path in (tmp_path / "features").iterdir() if not path.name.startswith("."))
    assert len(kept) == 2 and kept[1] == f"{kept[0]}_masked"
    assert re.fullmatch(r"tiny_33px_pascal5i_protocol_train_[0-9a-f]{12}", kept[0])


def test_other_weights_or_other_images_have_a_store_of_their_own(folder):
    split = tiny_dataset().train
    changed = dataclasses.replace(split, records=[*split.records[1:], split.records[0]])
    with mock.patch.object(store_module, "level_rows", wraps=store_module.level_rows) as computed:
        opened(folder, sha256="1" * 64)
        other = opened(folder, split=changed)
    assert computed.call_count == 2
    np.testing.assert_array_equal(other.mid[-1], opened(folder).mid[0])


def test_other_code_makes_other_features(tmp_path, monkeypatch):
    before = opened(tmp_path)
    monkeypatch.setattr(store_module, "features_fingerprint", lambda backbone: "of other code")
    with mock.patch.object(store_module, "level_rows", wraps=store_module.level_rows) as computed:
        after = opened(tmp_path)
    assert computed.call_count == 1
    np.testing.assert_array_equal(after.mid, before.mid)


@pytest.mark.parametrize("part", ["ids", "counts", "records", "max_side"])
def test_the_fingerprint_is_of_all_that_a_split_holds(part):
    split = tiny_dataset().train
    changes = {
        "ids": [*split.ids[:-1], "other"],
        "counts": split.counts + 1,
        "records": [*split.records[:-1], split.records[0]],
        "max_side": split.max_side + 1,
    }
    assert fingerprint(dataclasses.replace(split, **{part: changes[part]})) != fingerprint(split)
    assert fingerprint(tiny_dataset().train) == fingerprint(split)


def test_progress_is_told_while_features_are_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SAY_EVERY", 0.0)
    lines = []
    opened(tmp_path, support_level4="masked_twice", say=lines.append)
    assert lines[0].startswith("features: 1/8 images of train, ") and "features: 8/8 images of train" in lines[7]
    assert lines[-1].startswith("features: 9/9 masks of train, ")  # each of the eight holds one class


def test_a_disk_without_room_is_refused_with_the_size_before_anything_is_computed(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: usage(9_000))
    # 8 images of 5 x 5 x (8 + 12 + 16) float32 and 33 x 33 labels are 37,512 bytes
    with pytest.raises(UserError, match=r"has room for 0\.01 MB, but the frozen features take 0\.04 MB: make room, or"):
        opened(tmp_path)
    assert not list(tmp_path.iterdir())


def test_several_processes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"training\.cache_features works in one process"):
        opened(tmp_path)
