"""Which runs rows ask for, and the command of each."""

from __future__ import annotations

import pytest

from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.runs import (
    Settings,
    picked_rows,
    plan_run,
    plan_runs,
    training_command,
)
from mmnet_jax.reproduction.tables import TABLES
from tests.reproduction.hand_made import plan_one, settings


def test_rows_of_the_same_configuration_are_run_once(tmp_path):
    rows = TABLES["4"].rows + TABLES["A"].rows
    runs = plan_runs(rows, (0, 2), (321, 5), settings(tmp_path))
    assert len(rows) == 5 and len(runs) == 4 * 4
    assert [run.name for run in runs[:3]] == [
        f"ablations:fcm_only fold {f} seed {s}" for f, s in ((0, 321), (0, 5), (2, 321))
    ]
    assert runs[0].folder == tmp_path / "runs" / "ablations" / "fcm_only" / "fold0" / "seed321"


def test_a_run_has_its_fold_seed_data_weights_and_changes(tmp_path):
    run = plan_run(
        "ablations:memory_20", 2, 7, Settings(tmp_path, "d", "w", ("training.steps=9", "data.scale=(0.5, 0.6)"))
    )
    assert (run.config.fold, run.config.seed, run.config.training.steps) == (2, 7, 9)
    assert run.config.model.memory_size == 20 and tuple(run.config.data.scale) == (0.5, 0.6)
    assert run.config.model.weights == "w/resnet50_v2.safetensors" and run.config.evaluation.after_training
    command = training_command(run, tmp_path / "here")
    assert command[1:3] == ["-m", "mmnet_jax.train"]
    assert command[3] == "--config=ablations:memory_20"
    assert command[4:] == [
        f"--workdir={tmp_path}/here",
        "--config.training.steps=9",
        "--config.data.scale=(0.5, 0.6)",
        "--config.fold=2",
        "--config.seed=7",
        "--config.data.data_dir=d",
        "--config.evaluation.after_training=True",
        "--config.model.weights=w/resnet50_v2.safetensors",
    ]


def test_a_change_is_read_by_its_fields_type(tmp_path):
    run = plan_one(tmp_path, changes=["data.augment=true", "training.cache_features=False", "model.levels=2"])
    assert run.config.data.augment is True and run.config.model.levels == "2"


def test_one_weights_file_cannot_serve_several_backbones(tmp_path):
    rows = [row for row in TABLES["1"].rows if row.name in ("vgg16_1shot", "resnet50_v2_1shot")]
    with pytest.raises(UserError, match="is one file, but the rows have the backbones resnet50_v2, vgg16"):
        plan_runs(rows, (0,), (1,), Settings(tmp_path, weights="one.safetensors"))
    assert len(plan_runs(rows, (0,), (1,), Settings(tmp_path, weights="folder"))) == 2
    assert len(plan_runs(rows[:1], (0,), (1,), Settings(tmp_path, weights="one.safetensors"))) == 1


def test_one_weights_file_serves_all_and_a_random_backbone_needs_none(tmp_path):
    run = plan_run("pascal_1shot", 0, 1, Settings(tmp_path, weights="my/file.safetensors"))
    assert run.config.model.weights == "my/file.safetensors"
    assert plan_one(tmp_path).config.model.weights is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.steps", "must have the form FIELD=VALUE"),
        ("training.stepps=3", "unknown config field training.stepps; did you mean training.steps"),
        ("training.steps=many", "training.steps must be of type int"),
        ("training.epochs=None", "a field cannot be set to None"),
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


def test_an_unknown_row_is_refused():
    with pytest.raises(UserError, match=r"has no row 'fcm'; there are fcm_only"):
        picked_rows(TABLES["4"], ["fcm"])
    assert [row.name for row in picked_rows(TABLES["4"], ["fcm_mmm", "fcm_only"])] == ["fcm_only", "fcm_mmm"]
