"""The trainings that fill a table: a configuration, a fold and a seed each, with the folder and the command of it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.config import apply, get_config, load_recipe, resolve
from mmnet_jax.config.recipes import find_recipe
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import TABLES, Table, TableRow


class Settings(NamedTuple):
    """What all runs of a call share."""

    runs: Path
    """The folder of their workdirs."""
    data_dir: str = "data"
    weights: str = "weights"
    """A backbone's file, or the folder that holds ``BACKBONE.safetensors``."""
    changes: tuple[str, ...] = ()
    """``FIELD=VALUE`` each."""


OWN_FLAGS = {
    "fold": "--folds",
    "seed": "--seeds",
    "data.data_dir": "--data_dir",
    "model.weights": "--weights",
}
"""Fields that flags of the runner set, in every run."""


class Run(NamedTuple):
    """One training with its evaluation."""

    reference: str
    """Of the configuration, as in a table's row."""
    fold: int
    seed: int
    config: ConfigDict
    """Resolved."""
    folder: Path
    """Its workdir, unless another training holds it."""
    changes: tuple[str, ...]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.reference} fold {self.fold} seed {self.seed}"


def named_table(name: str) -> Table:
    """A table by its name.

    Raises:
      UserError: there is none.
    """
    if name not in TABLES:
        raise UserError(f"--table must be one of {', '.join(TABLES)}, but is {name!r}.")
    return TABLES[name]


def picked_rows(table: Table, names: Sequence[str]) -> tuple[TableRow, ...]:
    """The rows called so, in the table's order; all where no name is given.

    Raises:
      UserError: naming one that the table has not.
    """
    known = [row.name for row in table.rows]
    for name in names:
        if name not in known:
            raise UserError(f"--rows: {table.title} has no row {name!r}; there are {', '.join(known)}.")
    return tuple(row for row in table.rows if not names or row.name in names)


def plan_runs(rows: Sequence[TableRow], folds: Sequence[int], seeds: Sequence[int], settings: Settings) -> list[Run]:
    """Every run that the rows ask for, once: a row after the other, in it fold by fold.

    Raises:
      UserError: a field to be changed is unknown or cannot have that value, or one file of weights is to serve several
        backbones.
    """
    runs: dict[Path, Run] = {}
    for row in rows:
        for fold in folds:
            for seed in seeds:
                run = planned(row.config, fold, seed, settings)
                runs.setdefault(run.folder, run)
    backbones = sorted({run.config.model.backbone for run in runs.values() if run.config.model.weights})
    if len(backbones) > 1 and _is_file(settings.weights):
        raise UserError(
            f"--weights={settings.weights} is one file, but the rows have the backbones {', '.join(backbones)}: give a "
            "folder of BACKBONE.safetensors files, or rows of one backbone."
        )
    return list(runs.values())


def planned(reference: str, fold: int, seed: int, settings: Settings) -> Run:
    """One run of a configuration."""
    config = apply(load_recipe(reference), dict(map(split_change, settings.changes)))
    config.fold, config.seed = fold, seed
    config.data.data_dir = settings.data_dir
    config.evaluation.after_training = True
    if config.pretraining.dataset == "none" and not config.model.random_backbone:
        config.model.weights = str(weights_file(settings.weights, config.model.backbone))
    folder = settings.runs.joinpath(*reference.split(":"), f"fold{fold}", f"seed{seed}")
    return Run(reference, fold, seed, resolve(config), folder, settings.changes)


def split_change(change: str) -> tuple[str, Any]:
    """``FIELD=VALUE`` as a field and its value, read as ``--config.FIELD=VALUE`` is.

    Raises:
      UserError: it has another form, its value is None, or the field is one that flags or the runner itself set.
    """
    field, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set={change} must have the form FIELD=VALUE.")
    if field in OWN_FLAGS:
        raise UserError(f"--set={change}: {field} is set by {OWN_FLAGS[field]}.")
    if field == "evaluation.after_training":
        raise UserError(f"--set={change}: a table needs every run's result, so that it cannot be changed.")
    if _type(field) is str:
        return field, text
    if _type(field) is bool and text.lower() in ("true", "false"):
        return field, text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return field, text
    if value is None:
        raise UserError(f"--set={change}: a field cannot be set to None, only to another value.")
    return field, value


def _type(field: str) -> type | None:
    """Of a config field; None where there is none of that name."""
    *path, name = field.split(".")
    section: Any = get_config()
    for part in path:
        section = section.get(part) if isinstance(section, ConfigDict) else None
    return section.get_type(name) if isinstance(section, ConfigDict) and name in section else None


def weights_file(weights: str, backbone: str) -> Path:
    """The backbone's file, by its own name or in a folder."""
    path = Path(weights).expanduser()
    return path if _is_file(weights) else path / f"{backbone}.safetensors"


def _is_file(weights: str) -> bool:
    return Path(weights).suffix == ".safetensors"


def config_argument(reference: str) -> str:
    """The file that ``--config`` takes, from here if it lies below."""
    module, colon, name = reference.partition(":")
    path = find_recipe(module)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}{colon}{name}"


def training_command(run: Run, workdir: Path) -> list[str]:
    """What trains a run, or goes on with it, and ends with its result."""
    command = [sys.executable, "-m", "mmnet_jax.train"]
    command += [f"--config={config_argument(run.reference)}", f"--workdir={workdir}"]
    command += [f"--config.{change}" for change in run.changes]
    command += [f"--config.fold={run.fold}", f"--config.seed={run.seed}"]
    command += [f"--config.data.data_dir={run.config.data.data_dir}", "--config.evaluation.after_training=True"]
    if run.config.model.weights:
        command.append(f"--config.model.weights={run.config.model.weights}")
    return command
