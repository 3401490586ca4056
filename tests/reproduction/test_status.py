"""Which workdirs are reused, resumed, or left alone."""

from __future__ import annotations

import json

import pytest

from mmnet_jax.reproduction import status
from mmnet_jax.reproduction.status import find_status
from tests.reproduction.hand_made import OTHER_CODE, begin, finish, plan_one
from tests.training.tiny_training import tiny_dataset


def test_a_run_is_new_then_begun_then_done(tmp_path):
    run = plan_one(tmp_path)
    assert find_status(run) == ("new", run.folder, ())
    begin(run)
    assert find_status(run) == ("begun", run.folder, ())
    (run.folder / "checkpoints" / "4").rmdir()
    (run.folder / "checkpoints").rmdir()
    assert find_status(run) == ("new", run.folder, ())  # it died before its first checkpoint
    finish(run, [1, 2, 3, 4])
    assert find_status(run) == ("done", run.folder, ())


def test_free_fields_may_differ_others_lead_to_the_next_folder(tmp_path):
    finish(plan_one(tmp_path), [1, 2, 3, 4])
    assert find_status(plan_one(tmp_path, changes=["training.log_every=1"])).kind == "done"
    other = plan_one(tmp_path, changes=["model.memory_size=9"])
    kind, workdir, (left,) = find_status(other)
    assert (kind, workdir) == ("new", tmp_path / "runs/photographs/paper/fold1/seed321.1")
    assert "seed321: " in left and "another config (model.memory_size: 50 -> 9)" in left
    begin(other, workdir)
    assert find_status(other)[:2] == ("begun", workdir)
    assert find_status(plan_one(tmp_path)).kind == "done"


@pytest.mark.parametrize("record", ["config.json", "results/result.json"])
def test_other_code_leads_to_the_next_folder_unless_it_is_accepted(tmp_path, record):
    run = plan_one(tmp_path)
    rewrite(finish(run, [1, 2, 3, 4]) / record, **OTHER_CODE._asdict())
    kind, workdir, (left,) = find_status(run)
    assert (kind, workdir.name) == ("new", "seed321.1") and left.endswith(" by other code")
    assert find_status(run, any_code=True)[:2] == ("done", run.folder)


def test_a_result_of_other_episodes_is_not_the_one_asked_for(tmp_path):
    run = plan_one(tmp_path)
    finish(run, [1, 2, 3, 4], episodes=5)
    assert find_status(run).kind == "begun"


def test_a_result_without_its_episodes_is_made_again(tmp_path):
    run = plan_one(tmp_path)
    (finish(run, [1, 2, 3, 4]) / "results" / "result.episodes.csv").unlink()
    assert find_status(run).kind == "begun"


def test_other_weights_lead_to_the_next_folder(tmp_path):
    weights = tmp_path / "weights" / "efficientnet_lite2.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"these")
    run = plan_one(tmp_path, changes=["model.random_backbone=False"])
    workdir = finish(run, [1, 2, 3, 4])
    (workdir / "backbone.safetensors").write_bytes(b"these")
    assert find_status(run).kind == "done"
    (workdir / "backbone.safetensors").write_bytes(b"those")
    assert find_status(run).kind == "new"


@pytest.mark.parametrize(
    ("record", "words"),
    [("config.json", "begun with other data"), ("results/result.json", "evaluated with other data")],
)
def test_other_data_lead_to_the_next_folder(tmp_path, monkeypatch, record, words):
    run = plan_one(tmp_path)
    workdir = finish(run, [1, 2, 3, 4])
    data = tiny_dataset().fingerprints()
    rewrite(workdir / record, data_sha256=data | {"val": "0" * 64})
    assert find_status(run).kind == "done"  # no data are prepared, so there is nothing to compare with
    status._data_sha256.cache_clear()
    monkeypatch.setattr(status, "open_dataset", lambda *choice: tiny_dataset())
    kind, _, (left,) = find_status(run)
    assert kind == "new" and left.endswith(words)
    rewrite(workdir / record, data_sha256=data)
    assert find_status(run).kind == "done"
    status._data_sha256.cache_clear()


def rewrite(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
