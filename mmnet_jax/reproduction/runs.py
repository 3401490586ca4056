"""The trainings that fill a table: a configuration, a fold and a seed each, with the folder and the command of it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import configs
from mmnet_jax.config import from_dict, resolve
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


def load_config(reference: str) -> ConfigDict:
    """The configuration that a table's row stands for, open fields left open.

    Raises:
      UserError: there is none of that name.
    """
    module, _, name = reference.partition(":")
    loaded = importlib.import_module(f"configs.{module}")
    return loaded.get_config(name) if name else loaded.get_config()


def plan_runs(rows: Sequence[TableRow], folds: Sequence[int], seeds: Sequence[int], settings: Settings) -> list[Run]:
    """Every run that the rows ask for, once: a row after the other, in it fold by fold.

    Raises:
      UserError: a field to be changed is unknown or cannot have that value.
    """
    runs: dict[Path, Run] = {}
    for row in rows:
        for fold in folds:
            for seed in seeds:
                run = planned(row.config, fold, seed, settings)
                runs.setdefault(run.folder, run)
    return list(runs.values())


def planned(reference: str, fold: int, seed: int, settings: Settings) -> Run:
    """One run of a configuration."""
    config = load_config(reference)
    for change in settings.changes:
        set_field(config, *split_change(change))
    config.fold, config.seed = fold, seed
    config.data.data_dir = settings.data_dir
    config.evaluation.after_training = True
    if config.pretraining.dataset == "none" and not config.model.random_backbone:
        config.model.weights = str(weights_file(settings.weights, config.model.backbone))
    folder = settings.runs.joinpath(*reference.split(":"), f"fold{fold}", f"seed{seed}")
    return Run(reference, fold, seed, resolve(config), folder, settings.changes)


def split_change(change: str) -> tuple[str, Any]:
    """``FIELD=VALUE`` as a field and a Python value; a word that is none is a string."""
    field, equals, text = change.partition("=")
    if not equals:
        raise UserError(f"--set={change} must have the form FIELD=VALUE.")
    try:
        return field, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return field, text


def set_field(config: ConfigDict, field: str, value: Any) -> None:
    """Sets one field, such as ``training.steps``.

    Raises:
      UserError: it is unknown, or of another type.
    """
    *path, name = field.split(".")
    nested: dict[str, Any] = {name: value}
    for section in reversed(path):
        nested = {section: nested}
    from_dict(nested)
    config.update(nested)


def weights_file(weights: str, backbone: str) -> Path:
    """The backbone's file, by its own name or in a folder."""
    path = Path(weights).expanduser()
    return path if path.suffix == ".safetensors" else path / f"{backbone}.safetensors"


def config_argument(reference: str) -> str:
    """The file that ``--config`` takes, from here if it lies below."""
    module, colon, name = reference.partition(":")
    path = Path(str(configs.__file__)).parent / f"{module}.py"
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
