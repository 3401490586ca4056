"""Protocols draw episodes, manifests keep them."""

import dataclasses
import json

import numpy as np
import pytest

from mmnet_jax.config import from_dict, resolve
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.datasets.spec import interleaved
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import configured_manifest, draw_manifest, manifest_text, read_manifest
from mmnet_jax.evaluation.protocols import default_episodes

RULES = {"fold": 1, "shots": 2, "protocol": "pfenet", "seed": 7, "min_pixels": 20}


@pytest.fixture
def manifest(dataset):
    return draw_manifest(dataset, **RULES, episodes=25)


def test_pfenet_has_the_papers_numbers_of_episodes_and_one_of_ours(dataset):
    counts = {name: default_episodes(spec, "pfenet") for name, spec in DATASETS.items()}
    assert counts == {"pascal5i": 5000, "coco20i": 20000, "fss1000": 2400, "custom": 1000, "creatures": 1000}
    assert len(draw_manifest(dataset, **RULES).episodes) == 5000


def test_queries_cycle_through_the_list_and_supports_hold_the_class_once_each(manifest, dataset):
    assert [e.query for e in manifest.episodes] == [i % 11 for i in range(25)]
    for episode in manifest.episodes:
        assert len({episode.query, *episode.supports}) == 3
        for position in (episode.query, *episode.supports):
            assert dataset.test.counts[position, episode.class_id] > 0
    # a seed names the episodes
    assert draw_manifest(dataset, **RULES, episodes=25) == manifest
    assert draw_manifest(dataset, **RULES | {"seed": 8}, episodes=25).episodes != manifest.episodes


def test_base_classes_are_asked_for_where_wanted_and_what_cannot_be_drawn_is_named(dataset):
    base = draw_manifest(dataset, **RULES | {"fold": 0}, classes="base", episodes=5)
    assert {e.class_id for e in base.episodes} <= {6, 7, 8}
    for change, message in [
        ({"classes": "base"}, "no class has 3 images"),
        ({"protocol": "best"}, r"^unknown protocol best; there is pfenet, hsnet\.$"),
        ({"fold": 4}, r"^fold of pascal5i must be 0 to 3, but is 4\.$"),
        ({"classes": "val"}, r"^pascal5i has no val classes in fold 1\.$"),
    ]:
        with pytest.raises(UserError, match=message):
            draw_manifest(dataset, **RULES | change)


def folders(classes=4, images=10):
    """FSS-1000's layout: classes sorted, files sorted as strings, one class an image, however small."""
    names = [(c, number) for c in range(1, classes + 1) for number in sorted(range(1, images + 1), key=str)]
    counts = np.zeros((len(names), classes + 1), np.int64)
    counts[np.arange(len(names)), [c for c, _ in names]] = 1
    split = Split("val", [f"class{c}/{number}" for c, number in names], counts, [], 224)
    spec = dataclasses.replace(
        PASCAL5I, name="fss1000", class_names=["background", "a", "b", "c", "d"], novel={"own": lambda _: (1, 2, 3)}
    )
    return Dataset(dataclasses.replace(spec, val=(4,), folds=1), split, split)


HSNET = {"fold": 0, "shots": 1, "protocol": "hsnet", "seed": 0, "min_pixels": 2048}


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize(("part", "classes"), [("novel", (1, 2, 3)), ("val", (4,))])
def test_hsnet_draws_as_its_authors_do(shots, part, classes):
    dataset = folders()
    drawn = draw_manifest(dataset, **HSNET | {"shots": shots}, classes=part, episodes=35).episodes
    random, ids = np.random.RandomState(0), dataset.test.ids
    paths = sorted(f"class{c}/{number}.jpg" for c in classes for number in range(1, 11))
    for i, episode in enumerate(drawn):
        query, supports = paths[i % len(paths)], []
        while len(supports) < shots:
            (number,) = random.choice(range(1, 11), 1, replace=False)
            support = f"{query.partition('/')[0]}/{number}.jpg"
            if support != query:
                supports.append(support)
        assert [f"{ids[image]}.jpg" for image in (episode.query, *episode.supports)] == [query, *supports]
        assert f"class{episode.class_id}" == query.partition("/")[0]


def test_hsnet_names_the_same_episodes_for_ever():
    dataset = folders()
    episodes = draw_manifest(dataset, **HSNET, episodes=8).episodes
    named = [[dataset.test.ids[image].partition("/")[2] for image in (e.query, *e.supports)] for e in episodes]
    numbers = [("1", "3"), ("10", "4"), ("2", "3"), ("3", "7"), ("4", "6"), ("5", "2"), ("6", "4"), ("7", "1")]
    assert named == [list(pair) for pair in numbers]


def test_hsnet_repeats_supports_and_two_images_make_a_class():
    episodes = draw_manifest(folders(images=2), **HSNET | {"shots": 5}, episodes=6).episodes
    assert [e.supports for e in episodes[:2]] == [(1,) * 5, (0,) * 5]


def test_hsnet_is_refused_for_other_datasets_and_open_protocols_are_the_datasets(dataset, config):
    sentence = "protocol hsnet is for fss1000 alone so far, and the dataset is pascal5i; take pfenet."
    with pytest.raises(UserError) as error:
        draw_manifest(dataset, **RULES | {"protocol": "hsnet"})
    assert str(error.value) == sentence
    with pytest.raises(UserError) as error:
        resolve(from_dict({"evaluation": {"protocol": "hsnet"}}))
    assert str(error.value) == sentence
    assert config.evaluation.protocol == "pfenet"
    chosen = resolve(from_dict({"data": {"dataset": "fss1000"}}))
    assert chosen.evaluation.protocol == "hsnet"
    manifest = configured_manifest(folders(), chosen, episodes=4)
    assert (manifest.protocol, manifest.seed, len(manifest.episodes)) == ("hsnet", 0, 4)


def test_what_is_not_given_comes_from_the_config(dataset, config):
    ours = configured_manifest(dataset, config, episodes=3, shots=None)
    given = {"fold": 1, "shots": 1, "protocol": "pfenet", "seed": config.seed, "min_pixels": 20, "episodes": 3}
    assert ours == draw_manifest(dataset, **given)
    assert ours.name == f"pfenet_pascal5i_fold1_1shot_3episodes_seed{config.seed}"


def test_a_manifest_names_variant_and_folds_and_is_not_repeated_in_other_folds(manifest, dataset, tmp_path):
    two = {"contiguous": PASCAL5I.novel["contiguous"], "interleaved": interleaved(4, 5)}
    choosy = dataclasses.replace(dataset, spec=dataclasses.replace(PASCAL5I, novel=two), variant="folder")
    text = manifest_text(manifest, choosy)
    assert json.loads(text).items() >= {"split": "folder", "folds": "contiguous"}.items()
    (tmp_path / "m.json").write_text(text)
    for reader in (choosy, dataclasses.replace(choosy, variant="protocol")):  # of another list of the same images
        assert read_manifest(tmp_path / "m.json", reader) == manifest
    with pytest.raises(UserError, match=r"m\.json is of contiguous folds, but data\.folds is interleaved\.$"):
        read_manifest(tmp_path / "m.json", dataclasses.replace(choosy, folds="interleaved"))


def test_a_manifest_names_images_and_classes_and_survives_its_file(manifest, dataset, tmp_path):
    (tmp_path / "m.json").write_text(manifest_text(manifest, dataset))
    assert read_manifest(tmp_path / "m.json", dataset) == manifest
    head = json.loads(manifest_text(manifest, dataset))
    first, spec = head.pop("episodes")[0], manifest.episodes[0]
    assert head == {"dataset": "pascal5i", "fold": 1, "classes": "novel", "shots": 2, "protocol": "pfenet", "seed": 7}
    assert first == {"query": "val_000", "class": "bus", "supports": [f"val_{s:03d}" for s in spec.supports]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["episodes"][3].update(query="2007_1"), "episode 3: pascal5i has no test image 2007_1"),
        (lambda m: m["episodes"][4].update(supports=["val_001", "x"]), "episode 4: pascal5i has no test image x"),
        (lambda m: m["episodes"][0].update({"class": "yak"}), "episode 0: pascal5i has no class yak"),
        (lambda m: m["episodes"][1].update(supports=["val_001"]), "episode 1: 1 supports, but shots is 2"),
        (lambda m: m.update(dataset="coco20i"), "is of coco20i, but the dataset is pascal5i"),
        (lambda m: m.update(episodes=[]), "names no episode"),
        (lambda m: m.pop("episodes"), "is not a manifest: KeyError 'episodes'"),
        (lambda m: m.update(fold="one"), "is not a manifest"),
        (lambda m: m.update(fold=4), r"m\.json: fold of pascal5i must be 0 to 3, but is 4"),
        (lambda m: m.update(protocol="best"), r"m\.json: unknown protocol best; there is pfenet, hsnet\."),
        (lambda m: m.update(classes="all"), "classes must be novel, base or val, but is all"),
        (lambda m: m["episodes"][2].update({"class": "dog"}), "episode 2: dog is none of the novel classes of fold 1"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(manifest, dataset, tmp_path, change, message):
    text = json.loads(manifest_text(manifest, dataset))
    change(text)
    (tmp_path / "m.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.json", dataset)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("{", "cannot be read"), ("[]", "is not a m")]
)
def test_a_file_that_is_no_manifest_is_refused(dataset, tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.json", dataset)
