"""Results read back from their files."""

import pytest

from mmnet_jax.errors import UserError
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


def test_a_table_of_several_seeds_has_the_episodes_of_each(tmp_path):
    path = write(tmp_path / "r.json", [1, 2, 3, 4], seeds=[510, 365])
    result = read_result(path)
    assert result.summary["episodes"] == 2 and len(result.episodes) == 4


def test_a_table_from_before_has_no_counts_of_baselines(tmp_path):
    path = write(tmp_path / "r.json", [1, 2, 3, 4])
    path.write_text(path.read_text().replace('"baselines": {}', '"baselines": {"confidence": {}}'))
    assert list(read_result(path).counts) == [OWN]


def test_missing_cut_and_damaged_files_are_named(tmp_path):
    path = write(tmp_path / "r.json", [1, 2, 3, 4])
    table = tmp_path / "r.episodes.csv"
    whole = table.read_text()
    table.write_text("\n".join(whole.splitlines()[:-1]))
    with pytest.raises(UserError, match=r"r\.episodes\.csv has 3 episodes, but .*r\.json names 4\."):
        read_result(path)
    table.write_text(whole.replace("50", "fifty"))
    with pytest.raises(UserError, match=r"result .*r\.json or its r\.episodes\.csv cannot be read: ValueError .*fifty"):
        read_result(path)
    table.unlink()
    with pytest.raises(UserError, match=r"r\.episodes\.csv does not exist"):
        read_result(path)
    path.write_text("[]")
    with pytest.raises(UserError, match=r"r\.episodes\.csv does not exist"):
        read_result(path)
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_result(tmp_path / "none.json")
