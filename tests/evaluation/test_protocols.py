"""The declarations of protocols, and the datasets that support them."""

import dataclasses

import pytest

from mmnet_jax.config import from_dict, resolve
from mmnet_jax.data.dataset import listed_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import configured_manifest, draw_manifest
from mmnet_jax.evaluation.protocols import PROTOCOLS, default_episodes


def test_pfenet_numbers_of_episodes_by_dataset():
    counts = {name: default_episodes(spec, "pfenet") for name, spec in DATASETS.items()}
    assert counts == {"pascal5i": 5000, "coco20i": 20000, "fss1000": 2400, "custom": 1000, "creatures": 1000}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            {"dataset": "creatures"},
            "protocol hsnet has lists of pascal5i, coco20i and fss1000 alone, and the dataset is creatures; "
            "take pfenet.",
        ),
        (
            {"dataset": "coco20i", "folds": "contiguous"},
            "protocol hsnet has lists of the interleaved folds of coco20i alone, and data.folds is contiguous; "
            "take pfenet.",
        ),
    ],
)
def test_hsnet_is_refused_where_it_has_no_lists(data, sentence):
    with pytest.raises(UserError) as error:
        resolve(from_dict({"evaluation": {"protocol": "hsnet"}, "data": data}))
    assert str(error.value) == sentence


def test_unset_protocol_and_seeds_come_from_the_dataset_and_the_protocol(config):
    assert config.evaluation.protocol == "pfenet"
    chosen = resolve(from_dict({"data": {"dataset": "fss1000"}}))
    assert chosen.evaluation.protocol == "hsnet"
    manifest = configured_manifest(listed_dataset("fss1000", "protocol"), chosen, episodes=4)
    assert (manifest.protocol, manifest.seeds, len(manifest.episodes)) == ("hsnet", (0,), 4)


def test_absent_arguments_come_from_the_config(dataset, config):
    ours = configured_manifest(dataset, config, episodes=3, shots=None)
    given = {"fold": 1, "shots": 1, "protocol": "pfenet", "seeds": (config.seed,), "min_pixels": 20, "episodes": 3}
    assert ours == draw_manifest(dataset, **given)
    assert ours.name == f"pfenet_pascal5i_fold1_1shot_3episodes_seed{config.seed}"


def test_scoring_sizes_and_ignored_pixels_of_each_protocol(dataset):
    assert {name: of.scoring for name, of in PROTOCOLS.items()} == {
        "pfenet": "label size",
        "hsnet": "400 x 400",
        "bam": "label size",
    }
    pfenet = draw_manifest(dataset, fold=1, shots=1, protocol="pfenet", seeds=(0,), min_pixels=20, episodes=2)
    on = {name: dataclasses.replace(pfenet, dataset=name) for name in ("pascal5i", "coco20i")}
    assert not any(manifest.ignored_is_background for manifest in on.values())
    hsnet = {name: dataclasses.replace(manifest, protocol="hsnet") for name, manifest in on.items()}
    assert {name: of.ignored_is_background for name, of in hsnet.items()} == {"pascal5i": False, "coco20i": True}
