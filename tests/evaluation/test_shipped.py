"""The canonical episodes that the package ships."""

import json
import re
from pathlib import Path

import pytest

from mmnet_jax.data.dataset import listed_dataset
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.manifest import draw_manifest, manifest_text, read_manifest
from mmnet_jax.evaluation.shipped import CANONICAL, FOLDER, draw_canonical, find_manifests

RESULTS = Path(__file__).parents[2] / "results"
NAMES = [
    f"{protocol}_{dataset}_fold{fold}_{shots}shot"
    for dataset, protocols in CANONICAL.items()
    for protocol in protocols
    for fold in range(4)
    for shots in (1, 5)
]


def test_every_canonical_manifest_is_shipped_with_its_published_hash():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| `(\w{64})` \|$", (RESULTS / "manifests.md").read_text(), re.MULTILINE
    )
    found, files = [], []
    for name in NAMES:
        protocol, dataset, fold, shots = name.split("_")
        files += (own := find_manifests(name))
        manifest = read_manifest(*own)
        about = manifest.protocol, manifest.dataset, f"fold{manifest.fold}", f"{manifest.shots}shot"
        assert about == (protocol, dataset, fold, shots) and manifest.restricted is None
        assert manifest.seeds == {"pfenet": (321,), "hsnet": (0,), "bam": (510, 365, 382, 322, 988)}[protocol]
        assert manifest.per_seed == (5000 if protocol == "pfenet" else 1000)
        for file, sha256 in zip(own, manifest.sha256(), strict=True):
            found.append((file.name.removesuffix(".json.gz"), f"{manifest.per_seed:,}", sha256))
    assert sorted(found) == sorted(rows) and sorted(files) == sorted(FOLDER.iterdir()) and len(files) == 64
    assert sum(file.stat().st_size for file in files) < 3_000_000


@pytest.mark.parametrize(
    ("protocol", "name", "fold", "shots"),
    [("pfenet", "pascal5i", 0, 5), ("hsnet", "pascal5i", 1, 1), ("hsnet", "coco20i", 2, 1)],
)
def test_shipped_manifests_equal_the_current_draws(protocol, name, fold, shots):
    dataset = listed_dataset(name, "protocol" if name == "pascal5i" else "all")
    drawn = draw_canonical(dataset, protocol, fold, shots)
    shipped = read_manifest(*find_manifests(f"{protocol}_{name}_fold{fold}_{shots}shot"))
    assert shipped == drawn and manifest_text(shipped) == manifest_text(drawn)


def test_the_shipped_episodes_of_bam_begin_as_the_current_draws():
    dataset = listed_dataset("pascal5i", "protocol")
    shipped = read_manifest(*find_manifests("bam_pascal5i_fold3_1shot"))
    rules = {"fold": 3, "shots": 1, "protocol": "bam", "seeds": shipped.seeds, "min_pixels": 2048}
    drawn = draw_manifest(dataset, **rules, episodes=100)
    for own, part in zip(shipped.by_seed(), drawn.by_seed(), strict=True):
        assert own.episodes[:100] == part.episodes


def test_paths_are_joined_by_commas_and_take_precedence_over_names(tmp_path, monkeypatch):
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
