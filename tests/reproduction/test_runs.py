"""The runs of a table, their commands, and the reuse of workdirs."""

import json
import shutil

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.reproduction import runs
from mmnet_jax.reproduction.runs import Settings, find_status, plan_run, plan_runs, select, training_seeds
from tests.reproduction.hand_made import OTHER_CODE, begin, finish, plan_one, settings
from tests.training.tiny_training import tiny_dataset


def test_rows_with_the_same_recipe_share_a_run(tmp_path):
    table = select("4", ["fcm_mmm", "fcm_only"], ["0", "2"])
    assert [row.name for row in table.rows] == ["fcm_only", "fcm_mmm"]  # the table's order
    again = table._replace(rows=table.rows + select("A", ["with_fcm"], []).rows)
    plan = plan_runs(again, settings(tmp_path, seeds=(321, 5)))
    expected = [f"ablations:fcm_only fold {fold} seed {seed}" for fold, seed in ((0, 321), (0, 5), (2, 321))]
    assert [run.name for run in plan[:3]] == expected
    assert len(plan) == 2 * 4 and plan[-1].recipe == "pascal_1shot"
    assert plan[0].folder == tmp_path / "runs" / "ablations" / "fcm_only" / "fold0" / "seed321"


def test_a_run_has_its_fold_seed_data_weights_and_changes(tmp_path):
    changes = ("training.steps=9", "data.scale=(0.5, 0.6)", "data.augment=false", "model.levels=2")
    run = plan_run("ablations:memory_20", 2, 7, Settings(tmp_path, (7,), "d", "w", changes))
    assert (run.config.fold, run.config.seed, run.config.training.steps) == (2, 7, 9)
    assert run.config.model.memory_size == 20 and tuple(run.config.data.scale) == (0.5, 0.6)
    assert run.config.data.augment is False and run.config.model.levels == "2"  # parsed by the type of the field
    own = ("fold=2", "seed=7", "data.data_dir=d", "evaluation.after_training=True")
    fields = (*changes, *own, "model.weights=w/resnet50_v2.safetensors")
    assert run.command(tmp_path / "here")[1:] == [
        *("-m", "mmnet_jax.train", "--config=ablations:memory_20", f"--workdir={tmp_path}/here"),
        *(f"--config.{field}" for field in fields),
    ]


def test_a_single_small_number_of_seeds_is_a_count():
    given = {"3": (321, 322, 323), "321": (321,), "5,6": (5, 6), "1": (321,)}
    assert {text: training_seeds(text.split(",")) for text in given} == given


def test_one_weights_file_cannot_serve_several_backbones(tmp_path):
    both, one = select("1", ["vgg16_1shot", "resnet50_v2_1shot"], ["0"]), "my/one.safetensors"
    with pytest.raises(UserError, match="is one file, but the rows have the backbones resnet50_v2, vgg16"):
        plan_runs(both, Settings(tmp_path, (1,), weights=one))
    assert len(plan_runs(both, Settings(tmp_path, (1,), weights="folder"))) == 2
    (run,) = plan_runs(select("1", ["vgg16_1shot"], ["0"]), Settings(tmp_path, (1,), weights=one))
    assert run.config.model.weights == one
    assert plan_one(tmp_path).config.model.weights is None  # a random backbone needs none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.steps", "must have the form FIELD=VALUE"),
        ("training.stepps=3", "unknown config field training.stepps; did you mean training.steps"),
        ("training.steps=many", "config field training.steps must be a whole number"),
        ("training.epochs=None", "training.epochs must be a whole number"),
        ("fold=2", "fold is set by --folds"),
        ("seed=2", "seed is set by --seeds"),
        ("data.data_dir=x", "data.data_dir is set by --data_dir"),
        ("model.weights=x", "model.weights is set by --weights"),
        ("evaluation.after_training=False", "needs the result of every run"),
    ],
)
def test_an_impossible_config_change_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        plan_one(tmp_path, changes=[change])


def test_a_run_is_new_then_started_then_done(tmp_path):
    run = plan_one(tmp_path)
    assert find_status(run) == ("new", run.folder, ())
    begin(run)
    assert find_status(run) == ("started", run.folder, ())
    shutil.rmtree(run.folder / "checkpoints")
    assert find_status(run) == ("new", run.folder, ())  # it died before its first checkpoint
    workdir = finish(run, [1, 2, 3, 4])
    assert find_status(run) == ("done", run.folder, ())
    (workdir / "results" / "result.episodes.csv").unlink()
    assert find_status(run).kind == "started"
    finish(other := plan_one(tmp_path, fold=2), [1, 2, 3, 4], episodes=5)  # more than are wanted
    assert find_status(other).kind == "started"


def test_a_changed_field_leads_to_the_next_folder_unless_it_is_free(tmp_path):
    finish(plan_one(tmp_path), [1, 2, 3, 4])
    assert find_status(plan_one(tmp_path, changes=["training.log_every=1"])).kind == "done"
    other = plan_one(tmp_path, changes=["model.memory_size=9"])
    kind, workdir, (left,) = find_status(other)
    assert (kind, workdir) == ("new", tmp_path / "runs/photographs/paper/fold1/seed321.1")
    assert "seed321: " in left and "another config (model.memory_size: 50 -> 9)" in left
    begin(other, workdir)
    assert find_status(other)[:2] == ("started", workdir)
    assert find_status(plan_one(tmp_path)).kind == "done"


@pytest.mark.parametrize("record", ["config.json", "results/result.json"])
def test_other_code_leads_to_the_next_folder_unless_it_is_accepted(tmp_path, record):
    run = plan_one(tmp_path)
    rewrite(finish(run, [1, 2, 3, 4]) / record, **OTHER_CODE._asdict())
    kind, workdir, (left,) = find_status(run)
    assert (kind, workdir.name) == ("new", "seed321.1") and left.endswith(" by other code")
    assert find_status(run, any_code=True)[:2] == ("done", run.folder)


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


@pytest.mark.parametrize(("record", "verb"), [("config.json", "started"), ("results/result.json", "evaluated")])
def test_other_data_lead_to_the_next_folder(tmp_path, monkeypatch, record, verb):
    run, data = plan_one(tmp_path), tiny_dataset().fingerprints()
    workdir = finish(run, [1, 2, 3, 4])
    rewrite(workdir / record, data_sha256=data | {"val": "0" * 64})
    assert find_status(run).kind == "done"  # no data are prepared, so there is nothing to compare with
    monkeypatch.setattr(runs, "_data_sha256", lambda choice: data)
    kind, _, (left,) = find_status(run)
    assert kind == "new" and left.endswith(f"{verb} with other data")
    rewrite(workdir / record, data_sha256=data)
    assert find_status(run).kind == "done"


def rewrite(file, **fields):
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
