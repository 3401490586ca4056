"""Stored features against those extracted from images, and the key of a store."""

import collections
import dataclasses
import re

import jax
import numpy as np
import pytest

from mmnet_jax.data.dataset import Split
from mmnet_jax.data.episodes import EpisodeSpec
from mmnet_jax.errors import UserError
from mmnet_jax.features import store as store_module
from mmnet_jax.features.source import image_source
from mmnet_jax.features.store import stored_sources
from mmnet_jax.workdir import provenance
from mmnet_jax.workdir.provenance import Code
from tests.tiny import tiny_network
from tests.training.tiny_training import tiny_config, tiny_dataset

SPECS = [EpisodeSpec(0, 1, (2, 4)), EpisodeSpec(6, 11, (7, 3))]
"""Episodes of the training split, whose image 3 does not hold class 11."""
SHA256 = "0" * 64
MODEL, VARIABLES = tiny_network()
SPLIT = tiny_dataset().train


def opened(folder, *, model=MODEL, sha256=SHA256, split=SPLIT, say=lambda line: None):
    config = tiny_config()
    config.data.data_dir = str(folder)
    return stored_sources(config, model, VARIABLES, sha256, [split], say)[0]


def tables(folder):
    return sorted(path.name for path in (folder / "features").iterdir() if not path.name.startswith("."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("mask_level3", [False, True])
def test_stored_features_equal_extracted_ones(folder, mask_level3):
    model = MODEL.clone(mask_level3=mask_level3)

    def encode(source):
        def run(batch):
            episodes = source.encoder.transform(batch)
            features, moved = source.encoder.extract(model, VARIABLES, episodes, train=True)
            assert not moved
            return features, episodes.query_label, episodes.support_labels

        return jax.jit(run)(source.load(SPECS))

    stored, images = encode(opened(folder, model=model)), encode(image_source(SPLIT, 33))
    for a, b in zip(jax.tree.leaves(stored), jax.tree.leaves(images), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max()))
    assert len(tables(folder)) == 1  # features that depend on a mask are not stored


def test_a_store_is_computed_once_and_then_reads_no_image(tmp_path, monkeypatch):
    lines = []
    first = opened(tmp_path, say=lines.append).load(SPECS)
    assert re.match(r"features of train: image 8/8  .* images/s  ETA 0m00s$", lines[-1])
    # the key is that of the imported code, even if its source changes afterwards
    monkeypatch.setattr(provenance, "describe_checkout", lambda root: ("c" * 40 + "+dirty", "3" * 64))
    monkeypatch.setattr(provenance.subprocess, "run", lambda *_, **__: pytest.fail("the checkout was read again"))
    monkeypatch.setattr(Split, "read_image", lambda *_: pytest.fail("an image was read"))
    jax.tree.map(np.testing.assert_array_equal, opened(tmp_path).load(SPECS), first)
    assert re.fullmatch(r"tiny_33px_pascal5i_protocol_train_[0-9a-f]{12}", *tables(tmp_path))


def test_other_weights_and_other_images_have_another_store(tmp_path):
    opened(tmp_path, sha256="1" * 64)
    changed = dataclasses.replace(SPLIT, records=[*SPLIT.records[1:], SPLIT.records[0]])
    one = [EpisodeSpec(len(SPLIT) - 1, 1, (0,))]
    other, own = (opened(tmp_path, split=split).load(one).mid for split in (changed, SPLIT))
    assert len(tables(tmp_path)) == 3 and not np.array_equal(other, own)


def test_clean_and_dirty_checkouts_and_other_numerics_never_share_features(tmp_path, monkeypatch):
    clean = Code("0.1.0", 1, "a" * 40, None)
    dirty = clean._replace(commit="a" * 40 + "+dirty", changes_sha256="1" * 64)
    for code in (clean, dirty, dirty._replace(changes_sha256="2" * 64), clean._replace(numerics=2)):
        monkeypatch.setattr(store_module, "CODE", code)
        opened(tmp_path)
    assert len(tables(tmp_path)) == 4
    monkeypatch.setattr(store_module, "CODE", clean._replace(version="0.2.0", commit="b" * 40))
    opened(tmp_path)
    assert len(tables(tmp_path)) == 4  # commits with the same numerics share


def test_a_disk_without_room_and_several_processes_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: usage(9_000))
    # 8 images of 5 x 5 x (8 + 12 + 16) float32 are 28,800 bytes
    kept = r"the features that training\.cache_features keeps there take 0\.03 MB\.$"
    with pytest.raises(UserError, match=rf"has room for 0\.01 MB, but {kept}"):
        opened(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"training\.cache_features works in one process alone, but there are 2\.$"):
        opened(tmp_path)
