"""The runs of a table: one training for each recipe, fold and seed, with its config, workdir and command.

A workdir is reused for a run if its config, backbone weights, data and code (``NUMERICS``) agree. Other workdirs stay
untouched, and the run gets the next free folder: ``seed321.1`` beside ``seed321``.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from mmnet_jax.cli.config_flag import override
from mmnet_jax.config import load_recipe, resolve
from mmnet_jax.config.values import DatasetChoice, dataset_choice
from mmnet_jax.data.dataset import open_dataset
from mmnet_jax.data.datasets import DATASETS
from mmnet_jax.errors import UserError
from mmnet_jax.evaluation.protocols import default_episodes
from mmnet_jax.evaluation.report import result_files
from mmnet_jax.reproduction.tables import TABLES, Table
from mmnet_jax.training.stages import RESULT
from mmnet_jax.workdir.folder import Workdir
from mmnet_jax.workdir.provenance import CODE, read_code

OWN_FIELDS = {
    "fold": "--folds",
    "seed": "--seeds",
    "data.data_dir": "--data_dir",
    "model.weights": "--weights",
    "evaluation.after_training": "the runner, because a table needs the result of every run",
}
"""Config fields that ``--set`` cannot change -> what sets them."""
FIRST_SEED, MAX_SEEDS = 321, 100


class Settings(NamedTuple):
    """Settings shared by all runs."""

    runs: Path
    """Folder of the workdirs."""
    seeds: tuple[int, ...]
    data_dir: str = "data"
    weights: str = "weights"
    """Backbone weights: one file, or a folder of ``BACKBONE.safetensors`` files."""
    changes: tuple[str, ...] = ()
    """Changed config fields, each ``FIELD=VALUE``."""

    @property
    def one_weights_file(self) -> bool:
        return self.weights.endswith(".safetensors")


class Run(NamedTuple):
    """One training with its evaluation."""

    recipe: str
    """``TableRow.config``."""
    fold: int
    seed: int
    config: ConfigDict
    """Resolved."""
    folder: Path
    """Its workdir, unless another training is there."""
    overrides: tuple[str, ...]
    """Differences from the recipe, each ``FIELD=VALUE``."""

    @property
    def name(self) -> str:
        return f"{self.recipe} fold {self.fold} seed {self.seed}"

    def command(self, workdir: Path) -> list[str]:
        """The command that starts or resumes the training and then evaluates."""
        command = [sys.executable, "-m", "mmnet_jax.train", f"--config={self.recipe}", f"--workdir={workdir}"]
        return command + [f"--config.{text}" for text in self.overrides]


class Status(NamedTuple):
    """The status and the workdir of a run."""

    kind: Literal["done", "started", "new"]
    workdir: Path
    other_trainings: tuple[str, ...] = ()
    """Workdirs of other trainings, each with the difference."""

    @property
    def log(self) -> Path:
        """Log of the run's processes: beside the workdir, because a workdir may be recreated."""
        return self.workdir.with_name(f"{self.workdir.name}.log")


def select(table: str, rows: Sequence[str], folds: Sequence[str]) -> Table:
    """The rows and folds of a table that the flags name; an empty flag stands for all."""
    whole = TABLES[table]
    known = [row.name for row in whole.rows]
    for name in rows:
        if name not in known:
            raise UserError(f"--rows: {whole.title} has no row {name!r}; it has {', '.join(known)}.")
    picked = tuple(row for row in whole.rows if not rows or row.name in rows)
    claims = tuple(pair for pair in whole.claims if {row.name for row in picked}.issuperset(pair))
    return Table(whole.title, picked, claims, whole_numbers("folds", folds, 3) or whole.folds, whole.note)


def whole_numbers(flag: str, words: Sequence[str], last: int) -> tuple[int, ...]:
    """The numbers of a flag, without repetitions; raises a ``UserError`` unless they are from 0 to ``last``."""
    for word in words:
        if not word.strip().isdecimal() or int(word) > last:
            raise UserError(f"--{flag} must be whole numbers from 0 to {last}, but has {word!r}.")
    return tuple(dict.fromkeys(map(int, words)))


def training_seeds(words: Sequence[str]) -> tuple[int, ...]:
    """The seeds of ``--seeds``: a single number up to ``MAX_SEEDS`` is a count, starting from ``FIRST_SEED``."""
    seeds = whole_numbers("seeds", words, 2**31 - 1)
    if not any(seeds):
        raise UserError("--seeds is empty: give a number of seeds such as 3, or seeds such as 321,322.")
    return tuple(range(FIRST_SEED, FIRST_SEED + seeds[0])) if len(words) == 1 and seeds[0] <= MAX_SEEDS else seeds


def plan_runs(table: Table, settings: Settings) -> list[Run]:
    """The runs that the table needs, in the order of rows, folds and seeds."""
    recipes = dict.fromkeys(row.config for row in table.rows)
    keys = [(recipe, fold, seed) for recipe in recipes for fold in table.folds for seed in settings.seeds]
    runs = [plan_run(*key, settings) for key in keys]
    backbones = sorted({run.config.model.backbone for run in runs if run.config.model.weights})
    if len(backbones) > 1 and settings.one_weights_file:
        raise UserError(
            f"--weights={settings.weights} is one file, but the rows have the backbones {', '.join(backbones)}; give a "
            "folder of BACKBONE.safetensors files, or rows of one backbone."
        )
    return runs


def plan_run(recipe: str, fold: int, seed: int, settings: Settings) -> Run:
    """One run of a recipe; raises a ``UserError`` for a malformed change and for a field that another flag sets."""
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
        folder = Path(settings.weights)
        file = settings.weights if settings.one_weights_file else folder / f"{config.model.backbone}.safetensors"
        config.model.weights = str(file)
        overrides.append(f"model.weights={file}")
    folder = settings.runs.joinpath(*recipe.split(":"), f"fold{fold}", f"seed{seed}")
    return Run(recipe, fold, seed, resolve(config), folder, tuple(overrides))


def find_status(run: Run, any_code: bool = False) -> Status:
    """The current status of a run; ``any_code`` also accepts runs of other versions of the code."""
    other_trainings: list[str] = []
    while True:
        workdir = Workdir(f"{run.folder}.{len(other_trainings)}" if other_trainings else run.folder)
        try:
            return Status(_kind(workdir, run.config, any_code), workdir.path, tuple(other_trainings))
        except UserError as error:
            other_trainings.append(f"{workdir.path}: {error}")


def _kind(workdir: Workdir, config: ConfigDict, any_code: bool) -> Literal["done", "started", "new"]:
    """The status of a run in a workdir; a ``UserError`` if it is another training's. Unknown data count as equal."""
    if not workdir.resumes(config):
        return "new"
    result, data = _read_result(workdir), _data_sha256(dataset_choice(config))
    origins = [("started", workdir.code(), workdir.data_sha256())]
    if result:
        origins.append(("evaluated", read_code(result), result.get("data_sha256")))
    for verb, code, data_then in origins:
        if not any_code and not CODE.computes_like(code):
            raise UserError(f"{verb} by other code")
        if data_then and isinstance(data, dict) and data_then != data:
            raise UserError(f"{verb} with other data")
    protocol = config.evaluation.protocol
    episodes = config.evaluation.episodes or default_episodes(DATASETS[config.data.dataset], protocol)
    return "done" if (result.get("protocol"), result.get("episodes")) == (protocol, episodes) else "started"


def _read_result(workdir: Workdir) -> dict[str, Any]:
    """The final result of the training; empty unless it and its table of episodes exist."""
    path, _, episodes, _ = result_files(workdir.results / RESULT)
    try:
        return json.loads(path.read_text()) if episodes.is_file() else {}
    except (OSError, ValueError):
        return {}


def check_prerequisites(configs: Iterable[ConfigDict]) -> None:
    """Raises a ``UserError`` that names all missing datasets and weights, with the commands that make them."""
    missing = []
    for config in configs:
        data, weights = _data_sha256(dataset_choice(config)), config.model.weights
        if isinstance(data, str) and not DATASETS[config.data.dataset].generated:
            missing.append(data.rstrip("."))
        if weights and not Path(weights).is_file():
            command = f"python scripts/port_weights.py {config.model.backbone} --source=FILE --output={weights}"
            missing.append(f"--weights: {weights} is missing; port it with: {command}")
    if missing:
        raise UserError(f"{'; '.join(dict.fromkeys(missing))}.")


@cache
def _data_sha256(choice: DatasetChoice) -> dict[str, str] | str:
    """SHA-256 of the prepared dataset's splits, or the message that says why it cannot be opened."""
    try:
        return open_dataset(*choice).fingerprints()
    except UserError as error:
        return str(error)
