"""Episodes drawn as by each protocol's authors."""

import dataclasses
import gzip
import json
from importlib import resources

import numpy as np
import pytest

from mmnet_jax.data.dataset import Dataset, Split, listed_dataset
from mmnet_jax.data.datasets.fss1000 import FSS1000
from mmnet_jax.data.datasets.hsnet import HSNet, HSNetLists
from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest

RULES = {"fold": 1, "shots": 2, "protocol": "pfenet", "seeds": (7,), "min_pixels": 20}


@pytest.fixture
def manifest(dataset):
    return draw_manifest(dataset, **RULES, episodes=25)


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


def test_base_classes_can_be_drawn_and_impossible_requests_are_refused(dataset):
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
    """A dataset in FSS-1000's layout: sorted classes, files sorted as strings, one class in each image."""
    names = [(c, number) for c in range(1, classes + 1) for number in sorted(range(1, images + 1), key=str)]
    counts = np.zeros((len(names), classes + 1), np.int64)
    counts[np.arange(len(names)), [c for c, _ in names]] = 1
    split = Split("val", [f"class{c}/{number}" for c, number in names], counts, [], 224)
    spec = dataclasses.replace(
        FSS1000, class_names=["background", *(f"class{c}" for c in range(1, 5))], novel={"own": lambda _: (1, 2, 3)}
    )
    return Dataset(dataclasses.replace(spec, val=(4,), folds=1), split, split)


ADVICE = "; prepare them, take another protocol, or draw from those present (--restrict of evaluate and manifest)."
HSNET = {"fold": 0, "shots": 1, "protocol": "hsnet", "seeds": (0,), "min_pixels": 2048}


@pytest.mark.parametrize(("part", "classes"), [("novel", (1, 2, 3)), ("val", (4,))])
def test_hsnet_draws_as_its_authors_do(part, classes, shots=5):
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


def test_hsnet_draws_fixed_episodes():
    dataset = folders()
    episodes = draw_manifest(dataset, **HSNET, episodes=8).episodes
    named = [[image.partition("/")[2] for image in (e.query, *e.supports)] for e in episodes]
    numbers = [("1", "3"), ("10", "4"), ("2", "3"), ("3", "7"), ("4", "6"), ("5", "2"), ("6", "4"), ("7", "1")]
    assert named == [list(pair) for pair in numbers]


def test_hsnet_repeats_supports_of_a_class_with_two_images():
    episodes = draw_manifest(folders(images=2), **HSNET | {"shots": 5}, episodes=6).episodes
    assert [e.supports for e in episodes[:2]] == [("class1/2",) * 5, ("class1/1",) * 5]


def test_hsnet_is_refused_where_listed_images_are_missing(dataset):
    sentence = "protocol hsnet lists 433 test images of pascal5i fold 1, and 433 are missing: 2007_000452, "
    with pytest.raises(UserError) as error:
        draw_manifest(dataset, **RULES | {"protocol": "hsnet"})
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith(f" and 428 more{ADVICE}")


def listed(queries):
    """A dataset of five images, of which HSNet lists three and two of two classes, with these queries."""
    lists = HSNetLists({1: list("abc"), 2: list("de")}, queries)
    spec = dataclasses.replace(PASCAL5I, hsnet=HSNet(lambda *_: lists, "contiguous"))
    split = Split("val", list("edcba"), np.zeros((5, 21), np.int64), [], 1)
    return Dataset(spec, split, split)


def test_hsnet_takes_listed_queries_in_turn_and_draws_their_supports():
    """RandomState(0) draws 2 2 0 2 2 1 1 0 0 of three: the seventh is query b, and drawn again."""
    episodes = draw_manifest(listed([("a", 1), ("b", 1)]), **HSNET | {"shots": 2}, episodes=4).episodes
    assert ["".join((e.query, *e.supports)) for e in episodes] == ["acc", "bac", "acb", "baa"]


def test_hsnet_draws_classes_and_queries_where_it_lists_none():
    """RandomState(0) draws 1 (class 2), 0 (query d), 0 (d again), 1 (support e), seven times 0, 1 (e); 1 0 1 1; ..."""
    episodes = draw_manifest(listed(None), **HSNET | {"shots": 2}, episodes=4).episodes
    assert ["".join((e.query, *e.supports)) for e in episodes] == ["dee", "dee", "edd", "baa"]
    assert [e.class_name for e in episodes] == ["bicycle"] * 3 + ["aeroplane"]


def packaged(name):
    return (resources.files("mmnet_jax.data") / "lists" / name).read_bytes()


def authors_pascal(fold, shots, random):
    """HSNet's episodes of PASCAL-5i, from the names in its list."""
    lines = [line.split("__") for line in packaged(f"hsnet_pascal_val_fold{fold}.txt").decode().splitlines()]
    for i in range(1000):
        query, c = lines[i % len(lines)]
        names, supports = [name for name, other in lines if other == c], []
        while len(supports) < shots:
            support = random.choice(names, 1, replace=False)[0]
            supports += [support] if support != query else []
        yield query, int(c), supports


def authors_coco(fold, shots, random):
    """HSNet's episodes of COCO-20i, from the ids in its lists."""
    lists = json.loads(gzip.decompress(packaged("hsnet_coco_val.json.gz")))[str(fold)]
    for _ in range(1000):
        c = random.choice([fold + 4 * x + 1 for x in range(20)], 1, replace=False)[0]
        query, supports = random.choice(lists[str(c)], 1, replace=False)[0], []
        while len(supports) < shots:
            support = random.choice(lists[str(c)], 1, replace=False)[0]
            supports += [support] if support != query else []
        yield query, c, supports


@pytest.mark.parametrize(("name", "fold", "authors"), [("pascal5i", 2, authors_pascal), ("coco20i", 3, authors_coco)])
def test_hsnets_thousand_episodes_are_those_of_its_authors(name, fold, authors, shots=5):
    dataset = listed_dataset(name, "protocol" if name == "pascal5i" else "all")
    drawn = draw_manifest(dataset, **HSNET | {"fold": fold, "shots": shots}).episodes
    expected = [
        (str(query), dataset.class_names[c], tuple(map(str, supports)))
        for query, c, supports in authors(fold, shots, np.random.RandomState(0))
    ]
    assert len(drawn) == 1000 and list(drawn) == expected


def test_restricted_hsnet_draws_from_the_images_present(caplog):
    dataset = listed([(i, 1) for i in "abc"] + [(i, 2) for i in "de"])
    few = dataclasses.replace(dataset.test, ids=list("ecb"), counts=dataset.test.counts[:3])
    there = dataclasses.replace(dataset, test=few)
    with pytest.raises(UserError) as error:
        draw_manifest(there, **HSNET)
    assert str(error.value) == f"protocol hsnet lists 5 test images of pascal5i fold 0, and 2 are missing: a, d{ADVICE}"
    manifest = draw_manifest(there, **HSNET, restrict=True)
    assert {(e.query, e.supports) for e in manifest.episodes} == {("b", ("c",)), ("c", ("b",))}
    assert "left out of protocol hsnet, which needs two images of a class: bicycle (1)" in caplog.text
    assert manifest.restricted == "2 of 5 queries" and manifest.label == "hsnet, 2 of 5 queries"
    assert manifest.name == "hsnet_2_of_5_queries_pascal5i_fold0_1shot_1000episodes_seed0"
    whole = draw_manifest(dataset, **HSNET, restrict=True)
    assert whole.restricted is None and whole.label == "hsnet"
    only_e = dataclasses.replace(there, test=dataclasses.replace(few, ids=["e"], counts=few.counts[:1]))
    with pytest.raises(UserError, match=r"hsnet needs two listed images of a class, and no class of pascal5i fold 0"):
        draw_manifest(only_e, **HSNET, restrict=True)


def test_hsnet_draws_only_novel_classes():
    dataset = listed_dataset("pascal5i", "protocol")
    with pytest.raises(UserError, match=r"^protocol hsnet lists no test image of these classes of pascal5i fold 0; "):
        draw_manifest(dataset, **HSNET, classes="base")


def test_restricted_hsnet_counts_every_listed_pair_where_queries_are_drawn():
    dataset = listed(None)
    few = dataclasses.replace(dataset.test, ids=list("abde"), counts=dataset.test.counts[:4])
    manifest = draw_manifest(dataclasses.replace(dataset, test=few), **HSNET, restrict=True)
    assert manifest.restricted == "4 of 5 queries"


def test_hsnet_on_fss1000_needs_all_2400_test_images():
    dataset = listed_dataset("fss1000", "protocol")
    name = dataset.class_names[dataset.classes(0, "novel")[7]]
    ids = [i for i in dataset.test.ids if i not in {f"{name}/{number}" for number in (1, 4, 7, 10)}]
    fewer = dataclasses.replace(dataset.test, ids=ids, counts=dataset.test.counts[: len(ids)])
    there = dataclasses.replace(dataset, test=fewer)
    with pytest.raises(UserError, match=r"^protocol hsnet lists 2,400 test images of fss1000 fold 0, and 4 are miss"):
        draw_manifest(there, **HSNET)
    restricted = draw_manifest(there, **HSNET, restrict=True)
    assert restricted.restricted == "2,396 of 2,400 queries" and restricted.per_seed == 2400


def test_pfenet_needs_pixel_counts():
    with pytest.raises(UserError, match=r"needs the pixels of each class, and the package does not have those of coco"):
        draw_manifest(listed_dataset("coco20i", "all"), **RULES)
