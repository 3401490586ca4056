"""Results read from their files."""

import numpy as np
import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.comparison import miou, resample
from mmnet_jax.evaluation.manifest import draw_manifest
from mmnet_jax.evaluation.metrics import score
from mmnet_jax.evaluation.report import result_json, write_result
from mmnet_jax.evaluation.result import Baseline, Result
from mmnet_jax.evaluation.stored import OWN, read_result
from tests.evaluation.stored_results import write


def test_the_counts_of_a_result_and_of_its_baselines_are_read(tmp_path):
    result = read_result(write(tmp_path / "r.json", [1, 2, 3, 4], baselines={"confidence": [5, 6, 7, 8]}))
    assert result.summary["protocol"] == "pfenet"
    assert result.episodes[2] == ("q2", "b", "s2", 50)
    assert {name: counts.tolist() for name, counts in result.counts.items()} == {
        OWN: [[1, 100], [2, 100], [3, 100], [4, 100]],
        "confidence": [[5, 100], [6, 100], [7, 100], [8, 100]],
    }


def test_numbers_of_a_written_result_are_those_of_its_summary(dataset, tmp_path):
    given = {"fold": 1, "shots": 1, "protocol": "bam", "seeds": (510, 365), "min_pixels": 20, "episodes": 11}
    manifest = draw_manifest(dataset, **given)
    class_ids = np.array([manifest.class_ids[asked.class_name] for asked in manifest.episodes])
    queries = [asked.query for asked in manifest.episodes]
    random = np.random.default_rng(0)

    def method():
        intersection = random.integers(0, 100, (22, 2))
        pixels = intersection, intersection + random.integers(1, 50, (22, 2))
        return Baseline(score(*pixels, class_ids, queries, seeds=2, fold=1), *pixels)

    own, confidence = method(), method()
    about = own.scores, {"confidence": confidence}, own.intersection, own.union, own.union
    result = Result(manifest, *about)
    write_result(tmp_path / "r.json", result_json(result, dataset, {}), result, dataset)
    stored = read_result(tmp_path / "r.json")
    for name, scores in {OWN: own.scores, "confidence": confidence.scores}.items():
        numbers = {(1, 0): resample(stored, name)}
        assert miou(numbers).value == scores.miou and miou(numbers).interval95 == scores.interval95
        for class_id, iou in scores.class_iou.items():
            assert miou(numbers, dataset.class_names[class_id]).value == iou
    assert stored.summary["baselines"]["confidence"]["miou"] == confidence.scores.miou


def test_an_older_table_has_no_counts_of_baselines(tmp_path):
    path = write(tmp_path / "r.json", [1, 2, 3, 4])
    path.write_text(path.read_text().replace('"baselines": {}', '"baselines": {"confidence": {}}'))
    assert list(read_result(path).counts) == [OWN]


def test_missing_truncated_and_damaged_files_are_named(tmp_path):
    path = write(tmp_path / "r.json", [1, 2, 3, 4])
    table = tmp_path / "r.episodes.csv"
    whole = table.read_text()
    table.write_text("\n".join(whole.splitlines()[:-1]))
    with pytest.raises(UserError, match=r"r\.episodes\.csv has 3 episodes, but .*r\.json says 4; evaluate again\."):
        read_result(path)
    table.write_text(whole.replace("50", "fifty"))
    with pytest.raises(UserError, match=r"result .*r\.json or its r\.episodes\.csv cannot be read: ValueError .*fifty"):
        read_result(path)
    table.unlink()
    with pytest.raises(UserError, match=r"r\.episodes\.csv does not exist"):
        read_result(path)
    path.write_text(path.read_text().replace('"fold": 1', '"fold": "one"'))
    table.write_text(whole)
    with pytest.raises(UserError, match=r"cannot be read: ValueError .*'one'"):
        read_result(path)
    path.write_text('{"episodes": 4}')
    with pytest.raises(UserError, match=r"cannot be read: KeyError 'dataset'"):
        read_result(path)
    table.unlink()
    path.write_text("[]")
    with pytest.raises(UserError, match=r"r\.episodes\.csv does not exist"):
        read_result(path)
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_result(tmp_path / "none.json")
