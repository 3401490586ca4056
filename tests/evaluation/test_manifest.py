"""Manifests: files of episodes, written and read."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from mmnet_jax.data.datasets.pascal5i import PASCAL5I
from mmnet_jax.data.datasets.spec import interleaved
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest, manifest_text, read_manifest, write_manifest
from mmnet_jax.evaluation.protocols import PROTOCOLS

RULES = {"fold": 1, "shots": 2, "protocol": "pfenet", "seeds": (7,), "min_pixels": 20}


@pytest.fixture
def manifest(dataset):
    return draw_manifest(dataset, **RULES, episodes=25)


def test_a_manifest_has_variant_and_folds_and_is_refused_for_other_folds(dataset, tmp_path):
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


def test_a_manifest_round_trips_through_its_file(manifest, dataset, tmp_path):
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


def test_an_older_manifest_without_hash_and_class_values_is_read(manifest, dataset, tmp_path):
    old = json.loads(manifest_text(manifest))
    for name in ("sha256", "class_ids", "scoring"):
        del old[name]
    (tmp_path / "m.json").write_text(json.dumps(old))
    assert read_manifest(tmp_path / "m.json", dataset=dataset) == read_manifest(tmp_path / "m.json") == manifest


def test_manifests_of_earlier_results_are_read():
    files = sorted((Path(__file__).parents[2] / "results").rglob("*.manifest.json"))
    old = [read_manifest(file) for file in files]
    assert len(old) >= 9 and all(manifest.protocol == "pfenet" and not manifest.restricted for manifest in old)


@pytest.mark.parametrize("name", ["m.json", "m.json.gz"])
def test_each_of_several_seeds_has_a_file(dataset, tmp_path, name):
    bam = draw_manifest(dataset, **RULES | {"protocol": "bam", "seeds": PROTOCOLS["bam"].seeds}, episodes=4)
    assert len(bam.episodes) == 20 and bam.per_seed == 4
    files = write_manifest(tmp_path / name, bam)
    assert [file.name for file in files] == [f"m_seed{s}{name[1:]}" for s in (510, 365, 382, 322, 988)]
    assert read_manifest(*files, dataset=dataset) == bam
    assert read_manifest(*sorted(files), dataset=dataset) == bam  # as a shell lists them
    assert [read_manifest(file) for file in files] == bam.by_seed()
    alone = draw_manifest(dataset, **RULES | {"seeds": (382,)}, episodes=4)
    assert bam.by_seed()[2].episodes == alone.episodes  # every seed starts at the head of the list
    (again,) = write_manifest(tmp_path / f"again{name}", alone)
    before = again.read_bytes()
    write_manifest(again, alone)
    assert again.read_bytes() == before
    with pytest.raises(UserError, match=r"repeat a seed; give one file for each seed\.$"):
        read_manifest(files[0], files[0])
    longer = draw_manifest(dataset, **RULES | {"protocol": "bam", "seeds": (1,)}, episodes=5)
    for other in (again, *write_manifest(tmp_path / "longer.json", longer)):
        with pytest.raises(UserError, match=r"differ in more than their seeds"):
            read_manifest(files[0], other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["episodes"][3].update(query="2007_1"), "sha256; it was changed after it was written"),
        (
            lambda m: m["episodes"][4].update(supports=["val_001", "x"], query="y"),
            "2 of the 13 test images that the manifest names are not in the prepared pascal5i: y, x",
        ),
        (lambda m: m["episodes"][0].update({"class": "yak"}), "episode 0: yak is not one of the novel classes of fold"),
        (lambda m: m["class_ids"].update(cat=9), "class cat is 9 in the manifest, but 8 in the prepared masks"),
        (lambda m: m["episodes"][1].update(supports=["val_001"]), "episode 1: 1 supports, but shots is 2"),
        (lambda m: m.update(dataset="coco20i"), "is of coco20i, but the dataset is pascal5i"),
        (
            lambda m: m["episodes"][3].update(supports=[m["episodes"][3]["query"], "val_000"]),
            "episode 3: the query val_003 is among its own supports",
        ),
        (lambda m: m.update(shots=float("inf")), "is not a manifest: OverflowError"),
        (lambda m: m.update(episodes=[]), "has no episodes"),
        (lambda m: m.update(shots=0), "shots must be at least 1, but is 0"),
        (lambda m: m.pop("episodes"), "is not a manifest: KeyError 'episodes'"),
        (lambda m: m.update(fold="one"), "is not a manifest"),
        (lambda m: m.update(fold=4), r"m\.json: fold of pascal5i must be 0 to 3, but is 4"),
        (lambda m: m.update(protocol="best"), r"m\.json: unknown protocol best; there is pfenet, hsnet, bam\."),
        (lambda m: m.update(classes="all"), "classes must be novel, base or val, but is all"),
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
def test_a_file_that_is_not_a_manifest_is_refused(dataset, tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "m.json", dataset=dataset)
