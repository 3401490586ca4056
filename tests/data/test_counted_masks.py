"""Episodes of PASCAL-5i prepared from images equal those drawn from the packaged pixel counts."""

import dataclasses
import functools

import numpy as np
import pytest

from mmnet_jax.data.dataset import listed_dataset, open_dataset
from mmnet_jax.data.datasets.lists import packaged, packaged_names
from mmnet_jax.data.prepare import prepare
from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.protocols import PROTOCOLS
from tests.data.synthetic import jpeg, voc_folder


@functools.cache
def blank(height, width):
    return jpeg(np.zeros((height, width, 3), np.uint8))


def write_counted(voc, wanted):
    """Writes blank images of VOC's sizes, with masks that have the packaged pixel counts."""
    for line in packaged("pascal_counts.tsv.gz").decode().splitlines()[1:]:
        identity, width, height, pairs = line.split("\t")
        if identity in wanted:
            indices, pixels = zip(*(pair.split(":") for pair in pairs.split()), strict=True)
            mask = np.repeat(np.array(indices, np.uint8), np.array(pixels, int)).reshape(int(height), int(width))
            (voc / "JPEGImages" / f"{identity}.jpg").write_bytes(blank(*mask.shape))
            (voc / "SegmentationClassAug" / f"{identity}.png").write_bytes(png_bytes(mask, compress_level=1))


@pytest.mark.parametrize(("images", "episodes"), [(60, 100), pytest.param(1449, None, marks=pytest.mark.slow)])
def test_a_prepared_dataset_has_the_episodes_of_the_packaged_lists(tmp_path, images, episodes):
    voc = voc_folder(tmp_path / "VOCdevkit")
    ids = packaged_names("voc2012_val")[:images]
    write_counted(voc, set(ids))
    prepare("pascal5i", tmp_path / "VOCdevkit", tmp_path / "data", "protocol")
    prepared, listed = open_dataset("pascal5i", tmp_path / "data", "protocol"), listed_dataset("pascal5i", "protocol")
    first = dataclasses.replace(listed.test, ids=ids, counts=listed.test.counts[:images])
    listed = dataclasses.replace(listed, test=first)
    assert list(prepared.test.ids) == list(ids)
    np.testing.assert_array_equal(prepared.test.counts, listed.test.counts)
    for name, protocol in PROTOCOLS.items():
        for fold in range(4):
            rules = {"fold": fold, "shots": 2, "protocol": name, "seeds": protocol.seeds or (321,), "min_pixels": 2048}
            rules |= {"episodes": episodes, "restrict": True}
            drawn = draw_manifest(prepared, **rules)
            assert drawn == draw_manifest(listed, **rules)
            assert (drawn.restricted is None) == (name != "hsnet" or images == 1449)
