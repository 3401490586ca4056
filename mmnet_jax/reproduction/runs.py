"""The trainings that fill a table: one a recipe, fold and seed, each with its config, workdir and command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.cli.config_flag import override
from mmnet_jax.config import load_recipe, resolve
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import TABLES, Table, TableRow

OWN_FIELDS = {
    "fold": "--folds",
    "seed": "--seeds",
    "data.data_dir": "--data_dir",
    "model.weights": "--weights",
    "evaluation.after_training": "the runner, because a table needs the result of every run",
}
"""Config fields that ``--set`` cannot change, and what sets them."""


class Settings(NamedTuple):
    """What all runs of a call share."""

    runs: Path
    """Folder of the workdirs."""
    data_dir: str = "data"
    weights: str = "weights"
    """Backbone weights: one file, or a folder of ``BACKBONE.safetensors`` files."""
    changes: tuple[str, ...] = ()
    """``FIELD=VALUE`` each."""

    @property
    def one_weights_file(self) -> bool:
        return Path(self.weights).suffix == ".safetensors"

    def weights_file(self, backbone: str) -> str:
        """The file with the weights of a backbone."""
        folder = Path(self.weights).expanduser()
        return self.weights if self.one_weights_file else str(folder / f"{backbone}.safetensors")


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
    overrides: tuple[str, ...]
    """What differs from the recipe, ``FIELD=VALUE`` each."""

    @property
    def name(self) -> str:
        return f"{self.recipe} fold {self.fold} seed {self.seed}"


class Selection(NamedTuple):
    """The part of a table that is asked for."""

    table: Table
    rows: tuple[TableRow, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]


def select(table: str, rows: Sequence[str], folds: Sequence[str], seeds: Sequence[str]) -> Selection:
    """The selection that the flags name; no rows or folds are all of the table's.

    Raises:
      UserError: the table has no such row, or a fold or seed is not a number in its range.
    """
    chosen = TABLES[table]
    known = [row.name for row in chosen.rows]
    for name in rows:
        if name not in known:
            raise UserError(f"--rows: {chosen.title} has no row {name!r}; there are {', '.join(known)}.")
    picked = tuple(row for row in chosen.rows if not rows or row.name in rows)
    if not seeds:
        raise UserError("--seeds is empty.")
    return Selection(chosen, picked, _numbers("folds", folds, 3) or chosen.folds, _numbers("seeds", seeds, 2**31 - 1))


def _numbers(flag: str, words: Sequence[str], last: int) -> tuple[int, ...]:
    for word in words:
        if not word.strip().isdecimal() or int(word) > last:
            raise UserError(f"--{flag} must be whole numbers from 0 to {last}, but holds {word!r}.")
    return tuple(dict.fromkeys(map(int, words)))


def plan_runs(selection: Selection, settings: Settings) -> list[Run]:
    """Every run that the selection needs, once, in the order of rows, folds and seeds.

    Raises:
      UserError: a changed field is unknown or ill-typed, or one weights file is given for several backbones.
    """
    recipes = dict.fromkeys(row.config for row in selection.rows)
    keys = [(recipe, fold, seed) for recipe in recipes for fold in selection.folds for seed in selection.seeds]
    runs = [plan_run(*key, settings) for key in keys]
    backbones = sorted({run.config.model.backbone for run in runs if run.config.model.weights})
    if len(backbones) > 1 and settings.one_weights_file:
        raise UserError(
            f"--weights={settings.weights} is one file, but the rows have the backbones {', '.join(backbones)}: give a "
            "folder of BACKBONE.safetensors files, or rows of one backbone."
        )
    return runs


def plan_run(recipe: str, fold: int, seed: int, settings: Settings) -> Run:
    """One run of a recipe.

    Raises:
      UserError: a change has not the form FIELD=VALUE, or its field is unknown, ill-typed or set by the runner itself.
    """
    for change in settings.changes:
        field, equals, _ = change.partition("=")
        if not equals:
            raise UserError(f"--set={change} must have the form FIELD=VALUE.")
        if field in OWN_FIELDS:
            raise UserError(f"--set={change}: {field} is set by {OWN_FIELDS[field]}.")
    overrides = [*settings.changes, f"fold={fold}", f"seed={seed}", f"data.data_dir={settings.data_dir}"]
    overrides.append("evaluation.after_training=True")
    config = load_recipe(recipe)
    for text in overrides:
        override(config, *text.split("=", 1))
    if config.pretraining.dataset == "none" and not config.model.random_backbone:
        config.model.weights = settings.weights_file(config.model.backbone)
        overrides.append(f"model.weights={config.model.weights}")
    folder = settings.runs.joinpath(*recipe.split(":"), f"fold{fold}", f"seed{seed}")
    return Run(recipe, fold, seed, resolve(config), folder, tuple(overrides))


def training_command(run: Run, workdir: Path) -> list[str]:
    """The command that trains a run, or resumes it, and ends with its result."""
    command = [sys.executable, "-m", "mmnet_jax.train", f"--config={run.recipe}", f"--workdir={workdir}"]
    return command + [f"--config.{text}" for text in run.overrides]
