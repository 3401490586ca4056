"""The canonical episodes that the package ships."""

import gzip
import json
import re
from pathlib import Path

import pytest

from mmnet_jax.data.dataset import listed_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import manifest_text, read_manifest
from mmnet_jax.evaluation.shipped import CANONICAL, FOLDER, draw_canonical, find_manifests

RESULTS = Path(__file__).parents[2] / "results"
NAMES = [
    f"{protocol}_{dataset}_fold{fold}_{shots}shot"
    for dataset, protocols in CANONICAL.items()
    for protocol in protocols
    for fold in range(4)
    for shots in (1, 5)
]


def test_every_canonical_manifest_is_there_and_no_other_file():
    files = [file for name in NAMES for file in find_manifests(name)]
    assert sorted(files) == sorted(FOLDER.iterdir()) and len(files) == 64
    assert sum(file.stat().st_size for file in files) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_manifest_is_read_by_its_name(name):
    protocol, dataset, fold, shots = name.split("_")
    manifest = read_manifest(*find_manifests(name))  # which checks the episodes' hash
    told = manifest.protocol, manifest.dataset, f"fold{manifest.fold}", f"{manifest.shots}shot"
    assert told == (protocol, dataset, fold, shots) and manifest.restricted is None
    assert manifest.seeds == {"pfenet": (321,), "hsnet": (0,), "bam": (510, 365, 382, 322, 988)}[protocol]
    assert manifest.per_seed == (5000 if protocol == "pfenet" else 1000)


@pytest.mark.parametrize(
    ("protocol", "name", "fold", "shots"),
    [("pfenet", "pascal5i", 0, 5), ("bam", "pascal5i", 3, 1), ("hsnet", "pascal5i", 1, 1), ("hsnet", "coco20i", 2, 1)],
)
def test_shipped_manifests_are_what_is_drawn_today(protocol, name, fold, shots):
    dataset = listed_dataset(name, "protocol" if name == "pascal5i" else "all")
    drawn = draw_canonical(dataset, protocol, fold, shots)
    shipped = read_manifest(*find_manifests(f"{protocol}_{name}_fold{fold}_{shots}shot"))
    assert shipped == drawn
    assert [manifest_text(part) for part in shipped.by_seed()] == [manifest_text(part) for part in drawn.by_seed()]


def test_the_published_hashes_are_those_of_the_shipped_manifests():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| `(\w{64})` \|$", (RESULTS / "manifests.md").read_text(), re.MULTILINE
    )
    found = {}
    for file in FOLDER.iterdir():
        content = json.loads(gzip.decompress(file.read_bytes()))
        found[file.name.removesuffix(".json.gz")] = f"{len(content['episodes']):,}", content["sha256"]
    assert found == {name: (episodes, sha256) for name, episodes, sha256 in rows}


def test_paths_are_joined_by_commas_and_win_over_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(file) for file in find_manifests("a.json,b_seed1.json.gz")] == ["a.json", "b_seed1.json.gz"]
    shipped = find_manifests("bam_pascal5i_fold0_1shot")
    assert [file.name[24:] for file in shipped] == [f"_seed{s}.json.gz" for s in (510, 365, 382, 322, 988)]
    one = "bam_pascal5i_fold0_1shot_seed382"
    assert [file.name for file in find_manifests(one)] == [f"{one}.json.gz"]
    with pytest.raises(UserError, match=r"^manifest pfenet_pascal5i_fold4_1shot is neither a file nor a shipped man"):
        find_manifests("pfenet_pascal5i_fold4_1shot")
    (tmp_path / "one,two.json").touch()
    assert [str(file) for file in find_manifests("one,two.json")] == ["one,two.json"]
    (tmp_path / "hsnet_pascal5i_fold0_1shot").write_text(json.dumps({}))
    assert [str(file) for file in find_manifests("hsnet_pascal5i_fold0_1shot")] == ["hsnet_pascal5i_fold0_1shot"]
