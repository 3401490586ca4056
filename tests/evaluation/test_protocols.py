"""Protocols draw episodes, manifests keep them."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from mmnet_jax.config import from_dict, resolve
from mmnet_jax.data.dataset import Dataset, Split
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.data.datasets.fss1000 import FSS1000
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.datasets.spec import interleaved
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import (
    configured_manifest,
    draw_manifest,
    manifest_text,
    read_manifest,
    write_manifest,
)
from mmnet_jax.evaluation.protocols import PROTOCOLS, default_episodes

RULES = {"fold": 1, "shots": 2, "protocol": "pfenet", "seeds": (7,), "min_pixels": 20}


@pytest.fixture
def manifest(dataset):
    return draw_manifest(dataset, **RULES, episodes=25)


def test_pfenet_has_the_papers_numbers_of_episodes_and_one_of_ours(dataset):
    counts = {name: default_episodes(spec, "pfenet") for name, spec in DATASETS.items()}
    assert counts == {"pascal5i": 5000, "coco20i": 20000, "fss1000": 2400, "custom": 1000, "creatures": 1000}
    assert len(draw_manifest(dataset, **RULES).episodes) == 5000


def test_queries_cycle_through_the_list_and_supports_hold_the_class_once_each(manifest, dataset):
    specs = manifest.specs(dataset)
    assert [e.query for e in specs] == [i % 11 for i in range(25)]
    for episode in specs:
        assert len({episode.query, *episode.supports}) == 3
        for position in (episode.query, *episode.supports):
            assert dataset.test.counts[position, episode.class_id] > 0
    # a seed names the episodes
    assert draw_manifest(dataset, **RULES, episodes=25) == manifest
    assert draw_manifest(dataset, **RULES | {"seeds": (8,)}, episodes=25).episodes != manifest.episodes


def test_base_classes_are_asked_for_where_wanted_and_what_cannot_be_drawn_is_named(dataset):
    base = draw_manifest(dataset, **RULES | {"fold": 0}, classes="base", episodes=5)
    assert {e.class_name for e in base.episodes} <= {"bus", "car", "cat"}
    for change, message in [
        ({"classes": "base"}, "no class has 3 images"),
        ({"protocol": "best"}, r"^unknown protocol best; there is pfenet, hsnet, bam\.$"),
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
        FSS1000, class_names=["background", *(f"class{c}" for c in range(1, 5))], novel={"own": lambda _: (1, 2, 3)}
    )
    return Dataset(dataclasses.replace(spec, val=(4,), folds=1), split, split)


HSNET = {"fold": 0, "shots": 1, "protocol": "hsnet", "seeds": (0,), "min_pixels": 2048}


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize(("part", "classes"), [("novel", (1, 2, 3)), ("val", (4,))])
def test_hsnet_draws_as_its_authors_do(shots, part, classes):
    dataset = folders()
    drawn = draw_manifest(dataset, **HSNET | {"shots": shots}, classes=part, episodes=35).episodes
    random = np.random.RandomState(0)
    paths = sorted(f"class{c}/{number}.jpg" for c in classes for number in range(1, 11))
    for i, episode in enumerate(drawn):
        query, supports = paths[i % len(paths)], []
        while len(supports) < shots:
            (number,) = random.choice(range(1, 11), 1, replace=False)
            support = f"{query.partition('/')[0]}/{number}.jpg"
            if support != query:
                supports.append(support)
        assert [f"{image}.jpg" for image in (episode.query, *episode.supports)] == [query, *supports]
        assert episode.class_name == query.partition("/")[0]


def test_hsnet_names_the_same_episodes_for_ever():
    dataset = folders()
    episodes = draw_manifest(dataset, **HSNET, episodes=8).episodes
    named = [[image.partition("/")[2] for image in (e.query, *e.supports)] for e in episodes]
    numbers = [("1", "3"), ("10", "4"), ("2", "3"), ("3", "7"), ("4", "6"), ("5", "2"), ("6", "4"), ("7", "1")]
    assert named == [list(pair) for pair in numbers]


def test_hsnet_repeats_supports_and_two_images_make_a_class():
    episodes = draw_manifest(folders(images=2), **HSNET | {"shots": 5}, episodes=6).episodes
    assert [e.supports for e in episodes[:2]] == [("class1/2",) * 5, ("class1/1",) * 5]


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


def test_hsnet_is_refused_where_listed_images_are_missing(dataset):
    sentence = "protocol hsnet lists 433 test images of pascal5i fold 1, and 433 are missing: 2007_000452, "
    with pytest.raises(UserError) as error:
        draw_manifest(dataset, **RULES | {"protocol": "hsnet"})
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(" and 428 more; prepare them, or take those that are there with --restrict.")


def test_open_protocols_and_seeds_are_those_of_the_dataset_and_the_protocol(config):
    assert config.evaluation.protocol == "pfenet"
    chosen = resolve(from_dict({"data": {"dataset": "fss1000"}}))
    assert chosen.evaluation.protocol == "hsnet"
    manifest = configured_manifest(folders(), chosen, episodes=4)
    assert (manifest.protocol, manifest.seeds, len(manifest.episodes)) == ("hsnet", (0,), 4)


def test_what_is_not_given_comes_from_the_config(dataset, config):
    ours = configured_manifest(dataset, config, episodes=3, shots=None)
    given = {"fold": 1, "shots": 1, "protocol": "pfenet", "seeds": (config.seed,), "min_pixels": 20, "episodes": 3}
    assert ours == draw_manifest(dataset, **given)
    assert ours.name == f"pfenet_pascal5i_fold1_1shot_3episodes_seed{config.seed}"


def test_a_manifest_names_variant_and_folds_and_is_not_repeated_in_other_folds(dataset, tmp_path):
    two = {"contiguous": PASCAL5I.novel["contiguous"], "interleaved": interleaved(4, 5)}
    choosy = dataclasses.replace(dataset, spec=dataclasses.replace(PASCAL5I, novel=two), variant="folder")
    manifest = draw_manifest(choosy, **RULES, episodes=25)
    text = manifest_text(manifest)
    assert json.loads(text).items() >= {"split": "folder", "folds": "contiguous"}.items()
    (tmp_path / "m.json").write_text(text)
    assert read_manifest(tmp_path / "m.json", dataset=choosy) == manifest
    other = read_manifest(tmp_path / "m.json", dataset=dataclasses.replace(choosy, variant="protocol"))
    assert other.choices["split"] == "protocol" and other.episodes == manifest.episodes
    with pytest.raises(UserError, match=r"manifest is of contiguous folds, but data\.folds is interleaved\.$"):
        read_manifest(tmp_path / "m.json", dataset=dataclasses.replace(choosy, folds="interleaved"))


def test_a_manifest_names_images_and_classes_and_survives_its_file(manifest, dataset, tmp_path):
    (tmp_path / "m.json").write_text(manifest_text(manifest))
    assert read_manifest(tmp_path / "m.json", dataset=dataset) == manifest
    head = json.loads(manifest_text(manifest))
    episodes = head.pop("episodes")
    text = json.dumps(episodes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert head.pop("sha256") == hashlib.sha256(text.encode("utf-8")).hexdigest() == manifest.sha256()[0]
    assert head.pop("class_ids") == {"bus": 6, "car": 7, "cat": 8, "chair": 9, "cow": 10}
    expected = {"dataset": "pascal5i", "fold": 1, "classes": "novel", "shots": 2, "protocol": "pfenet", "seed": 7}
    assert head == {**expected, "scoring": "label size"}
    assert episodes[0] == {"query": "val_000", "class": "bus", "supports": list(manifest.episodes[0].supports)}


def test_a_manifest_from_before_hashes_and_class_values_is_read(manifest, dataset, tmp_path):
    old = json.loads(manifest_text(manifest))
    for name in ("sha256", "class_ids", "scoring"):
        del old[name]
    (tmp_path / "m.json").write_text(json.dumps(old))
    assert read_manifest(tmp_path / "m.json", dataset=dataset) == manifest
    assert read_manifest(tmp_path / "m.json") == dataclasses.replace(manifest, class_ids={})


@pytest.mark.parametrize("name", ["m.json", "m.json.gz"])
def test_each_of_several_seeds_has_a_file(dataset, tmp_path, name):
    bam = draw_manifest(dataset, **RULES | {"protocol": "bam", "seeds": PROTOCOLS["bam"].seeds}, episodes=4)
    assert len(bam.episodes) == 20 and bam.per_seed == 4
    files = write_manifest(tmp_path / name, bam)
    assert [file.name for file in files] == [f"m_seed{s}{name[1:]}" for s in (510, 365, 382, 322, 988)]
    assert read_manifest(*files, dataset=dataset) == bam
    assert [read_manifest(file) for file in files] == bam.by_seed()
    alone = draw_manifest(dataset, **RULES | {"seeds": (382,)}, episodes=4)
    assert bam.by_seed()[2].episodes == alone.episodes  # every seed starts at the head of the list
    (again,) = write_manifest(tmp_path / f"again{name}", alone)
    before = again.read_bytes()
    write_manifest(again, alone)
    assert again.read_bytes() == before
    with pytest.raises(UserError, match=r"repeat a seed\.$"):
        read_manifest(files[0], files[0])
    with pytest.raises(UserError, match=r"differ in more than their seeds"):
        read_manifest(files[0], again)
    longer = draw_manifest(dataset, **RULES | {"protocol": "bam", "seeds": (1,)}, episodes=5)
    with pytest.raises(UserError, match=r"have 4 and 5 episodes\.$"):
        read_manifest(files[0], *write_manifest(tmp_path / "longer.json", longer))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["episodes"][3].update(query="2007_1"), "sha256; it was changed after it was written"),
        (
            lambda m: m["episodes"][4].update(supports=["val_001", "x"], query="y"),
            "2 of the 13 test images that the manifest names are not in the prepared pascal5i: y, x",
        ),
        (lambda m: m["episodes"][0].update({"class": "yak"}), "episode 0: yak is none of the novel classes of fold 1"),
        (lambda m: m["class_ids"].update(cat=9), "class cat is 9 in the manifest, but 8 in the prepared masks"),
        (lambda m: m["episodes"][1].update(supports=["val_001"]), "episode 1: 1 supports, but shots is 2"),
        (lambda m: m.update(dataset="coco20i"), "is of coco20i, but the dataset is pascal5i"),
        (lambda m: m.update(episodes=[]), "names no episode"),
        (lambda m: m.pop("episodes"), "is not a manifest: KeyError 'episodes'"),
        (lambda m: m.update(fold="one"), "is not a manifest"),
        (lambda m: m.update(fold=4), r"m\.json: fold of pascal5i must be 0 to 3, but is 4"),
        (lambda m: m.update(protocol="best"), r"m\.json: unknown protocol best; there is pfenet, hsnet, bam\."),
        (lambda m: m.update(classes="all"), "classes must be novel, base or val, but is all"),
        (lambda m: m["episodes"][2].update({"class": "dog"}), "episode 2: dog is none of the novel classes of fold 1"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(manifest, dataset, tmp_path, change, message):
    text = json.loads(manifest_text(manifest))
    if "sha256" not in message:
        del text["sha256"]
    change(text)
    (tmp_path / "m.json").write_text(json.dumps(text))
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.json", dataset=dataset)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), ("{", "cannot be read"), ("[]", "is not a m")]
)
def test_a_file_that_is_no_manifest_is_refused(dataset, tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.json", dataset=dataset)
