"""The script ``reproduce.py`` from its flags to its table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import jax
import pytest
from jax._src import xla_bridge

from mmnet_jax.cli.signals import Stopped
from mmnet_jax.config import shipped_recipes
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction import launcher, runner, runs
from mmnet_jax.workdir.provenance import CODE
from tests.reproduction.hand_made import OTHER_CODE, SETTINGS, finish, plan_one

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce.py"


def test_an_unknown_table_is_refused_in_one_sentence(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--table=9"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert "--table cannot be '9'" in done.stderr and done.stderr.count("\n") == 1


GENERATED = "data.dataset=creatures"


def reproduce(folder, **others):
    """Calls the script with its defaults on two rows and one fold of a generated dataset in ``folder``."""
    given = {"table": "photographs", "rows": ["paper", "global"], "folds": ["1"], "seeds": ["321"], "list": False}
    given |= {"runs": str(folder / "runs"), "data_dir": str(folder / "data"), "weights": "nowhere"}
    given |= {"set": (*SETTINGS, GENERATED), "dry_run": False, "any_code": False, "output": None}
    given |= {"launcher": "none", "parallel": None, "slurm_options": [], "compilation_cache": None}
    runner.main(SimpleNamespace(**given | others))


@pytest.fixture
def trained_by_hand(monkeypatch):
    """Replaces trainings: each run writes a finished workdir, or fails."""
    trained = []

    def command(run, workdir):
        trained.append(run.recipe)
        if run.recipe.endswith("pfenet"):
            return [sys.executable, "-S", "-c", "raise SystemExit('no room')"]
        finish(run, [10, 20, 30, 40] if run.recipe.endswith("global") else [11, 22, 33, 44], workdir)
        return [sys.executable, "-S", "-c", ""]

    monkeypatch.setattr(runs.Run, "command", command)
    return trained


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"table": None}, "--table is missing; give one of 1, 2, 3"),
        ({"rows": ["fcm"]}, "has no row 'fcm'"),
        ({"folds": ["4"]}, "--folds must be whole numbers from 0 to 3, but has '4'"),
        ({"seeds": []}, "--seeds is empty"),
        ({"seeds": ["0"]}, "--seeds is empty: give a number of seeds such as 3"),
        ({"parallel": 2}, "--parallel=2 needs --launcher=local or --launcher=slurm"),
        ({"set": ()}, "holds no prepared pascal5i; .*; --weights: nowhere/efficientnet_lite2.safetensors is missing; "),
        ({"output": "file/table"}, "--output=file/table.md cannot be written."),
    ],
)
def test_a_mistake_is_refused_before_anything_starts(tmp_path, monkeypatch, trained_by_hand, flags, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UserError, match=message):
        reproduce(tmp_path, **flags)
    assert trained_by_hand == [] and os.listdir() == ["file"]


def test_missing_runs_are_done_once_and_the_table_is_written(tmp_path, trained_by_hand, monkeypatch, capsys):
    monkeypatch.setattr(xla_bridge, "get_backend", None)  # a runner that holds the GPUs leaves none to its runs
    monkeypatch.setattr(jax, "process_count", None)
    finish(plan_one(tmp_path, "photographs:paper", changes=[GENERATED]), [11, 22, 33, 44])
    reproduce(tmp_path)
    assert trained_by_hand == ["photographs:global"]
    assert "1 of 2 runs to do" in capsys.readouterr().out
    content = json.loads((tmp_path / "runs" / "table_photographs.json").read_text())
    assert [row["cells"]["fold1"]["miou"] for row in content["rows"]] == pytest.approx([27.5, 25])
    assert content["claims"][0]["cells"]["mean"]["difference"] == pytest.approx(2.5)
    assert "| paper better than global | +2.5" in (tmp_path / "runs" / "table_photographs.md").read_text()
    reproduce(tmp_path, output=str(tmp_path / "results" / "mine.md"))
    assert trained_by_hand == ["photographs:global"]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["mine.json", "mine.md"]


def test_a_failed_run_is_named_and_the_table_has_the_others(tmp_path, trained_by_hand, capsys):
    with pytest.raises(SystemExit) as ended:
        reproduce(tmp_path, rows=["paper", "pfenet"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "1 of 2 runs failed" in said.err and "pfenet fold 1 seed 321 ended with status 1: no room" in said.err
    assert "| PFENet (`pfenet`) | not run | not run |" in said.out
    assert "Not finished:\n\n- photographs:pfenet fold 1 seed 321: no room\n" in said.out


def test_a_dry_run_lists_the_status_of_each_run(tmp_path, capsys):
    for name, code in (("paper", CODE), ("global", OTHER_CODE)):
        finish(plan_one(tmp_path, f"photographs:{name}", changes=[GENERATED]), [1, 2, 3, 4], code=code)
    reproduce(tmp_path, dry_run=True)
    runs = tmp_path / "runs" / "photographs"
    assert capsys.readouterr().out.splitlines() == [
        "paper: MM-Net as the paper's equations have it, 1 shot (configs/photographs.py:paper)",
        "global: Global instead of APM (configs/photographs.py:global)",
        f"photographs:paper fold 1 seed 321: done ({runs}/paper/fold1/seed321)",
        f"photographs:global fold 1 seed 321: new ({runs}/global/fold1/seed321.1)",
        f"not reused: {runs}/global/fold1/seed321: started by other code",
    ]
    reproduce(tmp_path, dry_run=True, any_code=True)
    assert capsys.readouterr().out.count(": done (") == 2


def test_slurm_jobs_are_submitted(tmp_path, trained_by_hand, monkeypatch, capsys):
    submitted = []
    monkeypatch.setattr(launcher, "submit", lambda *arguments: submitted.append(arguments) or ["7_0", "7_1"])
    reproduce(tmp_path, launcher="slurm", parallel=2, slurm_options=["partition=gpu"], compilation_cache="off")
    ((jobs, *others),) = submitted
    assert others == [tmp_path / "runs" / "slurm", "table_photographs", 2, ["partition=gpu"]]
    assert [job.name for job in jobs] == [f"photographs:{name} fold 1 seed 321" for name in ("paper", "global")]
    assert all(job.command[-1] == "--compilation_cache=off" for job in jobs)
    assert "submitted: 7_0, 7_1" in capsys.readouterr().out


def test_an_interrupt_ends_with_the_command_to_continue(tmp_path, trained_by_hand, monkeypatch, capsys):
    monkeypatch.setattr(launcher, "launch", Mock(side_effect=Stopped))
    monkeypatch.setattr(sys, "argv", ["scripts/reproduce.py", "--table=3", "--set=data.scale=(1, 1)"])
    with pytest.raises(SystemExit) as ended:
        reproduce(tmp_path)
    assert ended.value.code == 130
    command = "python scripts/reproduce.py --table=3 '--set=data.scale=(1, 1)'"
    assert f"to continue: {command}" in capsys.readouterr().out


def test_the_table_of_finished_rows_is_written_even_if_weights_are_missing(tmp_path, trained_by_hand):
    fields, weights = (*SETTINGS[:2], "training.cache_features=False", GENERATED), str(tmp_path / "weights")
    settings = runs.Settings(tmp_path / "runs", (321,), "data", weights, fields)
    finish(runs.plan_run("photographs:paper", 1, 321, settings), [11, 22, 33, 44])
    with pytest.raises(UserError, match=r"--weights: .* is missing"):
        reproduce(tmp_path, set=fields, weights=weights)
    assert trained_by_hand == []
    assert "| 27.5 [" in (tmp_path / "runs" / "table_photographs.md").read_text()


@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_the_page_of_recipes_is_what_the_script_prints(monkeypatch, every):
    recipes = list(shipped_recipes())
    monkeypatch.setattr(runner, "shipped_recipes", lambda: recipes[::every])  # counting takes a while
    listed = runner.recipe_list().splitlines()
    page = (SCRIPT.parents[1] / "docs" / "configs.md").read_text().splitlines()
    assert [line for line in page if line in listed] == listed, "python scripts/reproduce.py --list > docs/configs.md"
    assert [line.split(" | ")[-1] for line in page[-len(recipes) :]] == [f"{about} |" for _, about in recipes]
