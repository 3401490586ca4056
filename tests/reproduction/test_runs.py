"""Which runs a selection needs, and the command of each."""

from __future__ import annotations

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.runs import Settings, plan_run, plan_runs, select, training_command
from tests.reproduction.hand_made import plan_one, settings


def test_a_row_of_the_same_recipe_is_run_once(tmp_path):
    selection = select("4", ["fcm_mmm", "fcm_only"], ["0", "2"], ["321", "5"])
    assert [row.name for row in selection.rows] == ["fcm_only", "fcm_mmm"]  # the table's order
    again = selection._replace(rows=selection.rows + select("A", ["with_fcm"], [], ["1"]).rows)
    runs = plan_runs(again, settings(tmp_path))
    assert [run.name for run in runs[:3]] == [
        f"ablations:fcm_only fold {f} seed {s}" for f, s in ((0, 321), (0, 5), (2, 321))
    ]
    assert len(runs) == 2 * 4 and runs[-1].recipe == "pascal_1shot"
    assert runs[0].folder == tmp_path / "runs" / "ablations" / "fcm_only" / "fold0" / "seed321"


def test_a_run_has_its_fold_seed_data_weights_and_changes(tmp_path):
    changes = ("training.steps=9", "data.scale=(0.5, 0.6)", "data.augment=false", "model.levels=2")
    run = plan_run("ablations:memory_20", 2, 7, Settings(tmp_path, "d", "w", changes))
    assert (run.config.fold, run.config.seed, run.config.training.steps) == (2, 7, 9)
    assert run.config.model.memory_size == 20 and tuple(run.config.data.scale) == (0.5, 0.6)
    assert run.config.data.augment is False and run.config.model.levels == "2"  # read by the type of the field
    assert run.config.model.weights == "w/resnet50_v2.safetensors" and run.config.evaluation.after_training
    assert training_command(run, tmp_path / "here")[1:] == [
        "-m",
        "mmnet_jax.train",
        "--config=ablations:memory_20",
        f"--workdir={tmp_path}/here",
        *(f"--config.{change}" for change in changes),
        "--config.fold=2",
        "--config.seed=7",
        "--config.data.data_dir=d",
        "--config.evaluation.after_training=True",
        "--config.model.weights=w/resnet50_v2.safetensors",
    ]


def test_one_weights_file_cannot_serve_several_backbones(tmp_path):
    both = select("1", ["vgg16_1shot", "resnet50_v2_1shot"], ["0"], ["1"])
    one = Settings(tmp_path, weights="my/one.safetensors")
    with pytest.raises(UserError, match="is one file, but the rows have the backbones resnet50_v2, vgg16"):
        plan_runs(both, one)
    assert len(plan_runs(both, Settings(tmp_path, weights="folder"))) == 2
    (run,) = plan_runs(select("1", ["vgg16_1shot"], ["0"], ["1"]), one)
    assert run.config.model.weights == "my/one.safetensors"
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
def test_a_change_that_cannot_be_made_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        plan_one(tmp_path, changes=[change])
