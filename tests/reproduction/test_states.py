"""What counts as done, what goes on, and what is left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmnet_jax.features.store import fingerprints
from mmnet_jax.reproduction import states
from mmnet_jax.reproduction.states import find_state
from tests.reproduction.hand_made import begin, finish, plan_one
from tests.training.tiny_training import tiny_dataset


def test_a_run_is_new_then_begun_then_done(tmp_path):
    run = plan_one(tmp_path)
    assert find_state(run) == ("new", run.folder, 0, ())
    begin(run)
    assert find_state(run) == ("begun", run.folder, 4, ())
    shutil.rmtree(run.folder)
    finish(run, [1, 2, 3, 4])
    assert find_state(run) == ("done", run.folder, 8, ())


def test_free_fields_may_differ_others_lead_to_the_next_folder(tmp_path):
    finish(plan_one(tmp_path), [1, 2, 3, 4])
    assert find_state(plan_one(tmp_path, changes=["training.log_every=1"])).kind == "done"
    other = plan_one(tmp_path, changes=["model.memory_size=9"])
    kind, workdir, step, (left,) = find_state(other)
    assert (kind, workdir, step) == ("new", tmp_path / "runs/photographs/paper/fold1/seed321.1", 0)
    assert left.endswith("seed321: another config (model.memory_size: 50 -> 9)")
    begin(other, workdir)
    assert find_state(other)[:3] == ("begun", workdir, 4)
    assert find_state(plan_one(tmp_path)).kind == "done"


def test_other_code_leads_to_the_next_folder_unless_it_is_taken(tmp_path):
    run = plan_one(tmp_path)
    finish(run, [1, 2, 3, 4], code="0123456789abcdef")
    kind, workdir, _, (left,) = find_state(run)
    assert (kind, workdir.name) == ("new", "seed321.1") and left.endswith("begun by other code")
    assert find_state(run, any_code=True)[:2] == ("done", run.folder)


def test_a_result_of_other_episodes_is_not_the_one_asked_for(tmp_path):
    run = plan_one(tmp_path)
    finish(run, [1, 2, 3, 4], episodes=5)
    assert find_state(run).kind == "begun"


def test_a_result_without_its_episodes_is_made_again(tmp_path):
    run = plan_one(tmp_path)
    (finish(run, [1, 2, 3, 4]) / "results" / "result.episodes.csv").unlink()
    assert find_state(run).kind == "begun"


def test_other_weights_lead_to_the_next_folder(tmp_path):
    weights = tmp_path / "weights" / "efficientnet_lite2.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"these")
    run = plan_one(tmp_path, changes=["model.random_backbone=False"])
    workdir = finish(run, [1, 2, 3, 4])
    (workdir / "backbone.safetensors").write_bytes(b"these")
    assert find_state(run).kind == "done"
    (workdir / "backbone.safetensors").write_bytes(b"those")
    assert find_state(run).kind == "new"


def test_what_another_process_trains_is_running(tmp_path):
    run = plan_one(tmp_path)
    begin(run)
    hold = "from mmnet_jax.storage.lock import locked; from pathlib import Path\n"
    hold += f"with locked(Path({str(run.folder)!r})):\n"
    hold += "  print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert find_state(run).kind == "running"
        holder.communicate(b"\n")
    assert find_state(run).kind == "begun"


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The tiny dataset stands for the prepared one, once its folder is there."""
    run = plan_one(tmp_path)
    states._fingerprints.cache_clear()
    monkeypatch.setattr(states, "open_dataset", lambda config: tiny_dataset())
    folder = states.dataset_folder("pascal5i", run.config.data.data_dir, "folder")
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").touch()
    yield run, folder
    states._fingerprints.cache_clear()


def told(file: Path, **more):
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


@pytest.mark.parametrize(
    ("file", "word"), [("config.json", "begun with other data"), ("results/result.json", "evaluated on other data")]
)
def test_other_data_lead_to_the_next_folder(prepared, file, word):
    run, folder = prepared
    workdir = finish(run, [1, 2, 3, 4])
    assert find_state(run).kind == "done"  # nothing is told of its data
    here = fingerprints(tiny_dataset())
    assert set(here) == {"train", "val"}
    told(workdir / file, data_sha256=here)
    assert find_state(run).kind == "done"
    told(workdir / file, data_sha256=here | {"val": "0" * 64})
    kind, _, _, (left,) = find_state(run)
    assert kind == "new" and left.endswith(word)
    (folder / "dataset_info.json").unlink()
    assert find_state(run).kind == "done"  # there is nothing to compare with
