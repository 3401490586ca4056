"""The trainings that fill a table: one a recipe, fold and seed, each with its config, workdir and command."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config import FIELDS, apply, load_recipe, resolve
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import Table, TableRow

OWN_FLAGS = {"fold": "--folds", "seed": "--seeds", "data.data_dir": "--data_dir", "model.weights": "--weights"}
"""Config fields that other flags of the runner set."""


class Settings(NamedTuple):
    """What all runs of a call share."""

    runs: Path
    """Folder of the workdirs."""
    data_dir: str = "data"
    weights: str = "weights"
    """Backbone weights: one file, or a folder of ``BACKBONE.safetensors`` files."""
    changes: tuple[str, ...] = ()
    """``FIELD=VALUE`` each."""


class Run(NamedTuple):
    """One training with its evaluation."""

    recipe: str
    """As in a table's row."""
    fold: int
    seed: int
    config: ConfigDict
    """Resolved."""
    folder: Path
    """Its workdir, unless another training is there."""
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.recipe} fold {self.fold} seed {self.seed}"


def picked_rows(table: Table, names: Sequence[str]) -> tuple[TableRow, ...]:
    """The named rows in the table's order; all if no name is given.

    Raises:
      UserError: the table has no row of that name.
    """
    known = [row.name for row in table.rows]
    for name in names:
        if name not in known:
            raise UserError(f"--rows: {table.title} has no row {name!r}; there are {', '.join(known)}.")
    return tuple(row for row in table.rows if not names or row.name in names)


def plan_runs(rows: Sequence[TableRow], folds: Sequence[int], seeds: Sequence[int], settings: Settings) -> list[Run]:
    """Every run that the rows need, once, in the order of rows, folds and seeds.

    Raises:
      UserError: a changed field is unknown or ill-typed, or one weights file is given for several backbones.
    """
    recipes = dict.fromkeys(row.config for row in rows)
    runs = [plan_run(recipe, fold, seed, settings) for recipe in recipes for fold in folds for seed in seeds]
    backbones = sorted({run.config.model.backbone for run in runs if run.config.model.weights})
    if len(backbones) > 1 and _is_file(settings.weights):
        raise UserError(
            f"--weights={settings.weights} is one file, but the rows have the backbones {', '.join(backbones)}: give a "
            "folder of BACKBONE.safetensors files, or rows of one backbone."
        )
    return runs


def plan_run(recipe: str, fold: int, seed: int, settings: Settings) -> Run:
    """One run of a recipe."""
    config = apply(load_recipe(recipe), dict(map(parse_change, settings.changes)))
    config.fold, config.seed = fold, seed
    config.data.data_dir = settings.data_dir
    config.evaluation.after_training = True
    if config.pretraining.dataset == "none" and not config.model.random_backbone:
        folder = Path(settings.weights).expanduser()
        file = settings.weights if _is_file(settings.weights) else folder / f"{config.model.backbone}.safetensors"
        config.model.weights = str(file)
    folder = settings.runs.joinpath(*recipe.split(":"), f"fold{fold}", f"seed{seed}")
    return Run(recipe, fold, seed, resolve(config), folder, settings.changes)


def parse_change(change: str) -> tuple[str, Any]:
    """``FIELD=VALUE`` as field and value, read as ``--config.FIELD=VALUE`` is.

    Raises:
      UserError: it has another form, its value is None, or the runner itself sets the field.
    """
    field, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set={change} must have the form FIELD=VALUE.")
    if field in OWN_FLAGS:
        raise UserError(f"--set={change}: {field} is set by {OWN_FLAGS[field]}.")
    if field == "evaluation.after_training":
        raise UserError(f"--set={change}: a table needs the result of every run, so this field cannot be changed.")
    kind = FIELDS[field].kind if field in FIELDS else None
    if kind is str:
        return field, text
    if kind is bool and text.lower() in ("true", "false"):
        return field, text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return field, text
    if value is None:
        raise UserError(f"--set={change}: a field cannot be set to None, only to another value.")
    return field, value


def _is_file(weights: str) -> bool:
    return Path(weights).suffix == ".safetensors"


def training_command(run: Run, workdir: Path) -> list[str]:
    """The command that trains a run, or resumes it, and ends with its result."""
    config = run.config
    command = [sys.executable, "-m", "mmnet_jax.train", f"--config={run.recipe}"]
    command += [f"--workdir={workdir}", *(f"--config.{change}" for change in run.changes)]
    command += [f"--config.fold={run.fold}", f"--config.seed={run.seed}"]
    command += [f"--config.data.data_dir={config.data.data_dir}", "--config.evaluation.after_training=True"]
    return command + ([f"--config.model.weights={config.model.weights}"] if config.model.weights else [])
