"""The table runner: plans the runs of a table, starts the missing ones and writes the table."""

import math
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax

from mmnet_jax.cli.command import INTERRUPTED
from mmnet_jax.cli.output import output_file
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.config import load_recipe, resolve, shipped_recipes
from mmnet_jax.config.values import network_settings
from mmnet_jax.errors import UserError
from mmnet_jax.models.heads.spec import NetworkSettings
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.reproduction import launcher
from mmnet_jax.reproduction.report import read_outcome, table_json, table_markdown
from mmnet_jax.reproduction.runs import (
    Run,
    Settings,
    Status,
    check_prerequisites,
    find_status,
    plan_runs,
    select,
    training_seeds,
)
from mmnet_jax.reproduction.tables import TABLES, Table
from mmnet_jax.storage.files import write_atomically, write_json
from mmnet_jax.workdir.folder import Workdir

LIST_HEAD = """# Configs

A config is a file of `configs/`, with a name after a colon if the file has several:
`python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=DIR`. Any field can be changed on the
command line, such as `--config.fold=2`; `--help-config` lists the fields. The numbers of trained parameters exclude the
frozen backbone. Written by `python scripts/reproduce.py --list`.

| config | trained parameters | description |
| --- | ---: | --- |
"""


def main(given: Any) -> None:
    """Runs ``scripts/reproduce.py``: exit status 1 if a run fails; a ``UserError`` if data or weights are missing."""
    if given.list:
        print(recipe_list(), end="")
        return
    if given.table is None:
        raise UserError(f"--table is missing; give one of {', '.join(TABLES)}.")
    if given.launcher == "none" and (given.parallel or 1) > 1:
        raise UserError(f"--parallel={given.parallel} needs --launcher=local or --launcher=slurm.")
    table = select(given.table, given.rows, given.folds)
    settings = Settings(Path(given.runs), training_seeds(given.seeds), given.data_dir, given.weights, tuple(given.set))
    runs = plan_runs(table, settings)
    plan = [(run, find_status(run, given.any_code)) for run in runs]
    if given.dry_run:
        print(*table.rows, sep="\n")
    for run, status in plan:
        if given.dry_run:
            print(f"{run.name}: {status.kind} ({status.workdir})")
        for place in status.other_trainings:
            print(f"not reused: {place}")
    if given.dry_run:
        return
    output = Path((given.output or f"{given.runs}/table_{given.table}").removesuffix(".md").removesuffix(".json"))
    missing = [(run, status) for run, status in plan if status.kind != "done"]
    print(f"{len(missing)} of {len(plan)} runs to do", flush=True)
    output_file("output", f"{output}.md")
    failures: list[str] = []
    try:
        check_prerequisites(run.config for run, _ in missing)
        failures = _launch(given, missing)
    finally:
        _write_table(output, table, settings, [(run, find_status(run, given.any_code)) for run in runs])
    if failures:
        print(f"{len(failures)} of {len(missing)} runs failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def _launch(given: Any, missing: Sequence[tuple[Run, Status]]) -> list[str]:
    """Runs or submits the missing runs; returns a line about each failure."""
    flag = [] if given.compilation_cache is None else [f"--compilation_cache={given.compilation_cache}"]
    jobs = [launcher.Job(run.name, run.command(status.workdir) + flag, status.log) for run, status in missing]
    if given.launcher == "slurm" and jobs:
        array = Path(given.runs) / "slurm", f"table_{given.table}", given.parallel
        submitted = launcher.submit(jobs, *array, given.slurm_options)
        print(f"submitted: {', '.join(submitted)}; after they end, rerun the command to write the table")
        return []
    slots = launcher.local_slots(given.parallel, launcher.visible_gpus()) if given.launcher == "local" else [{}]
    try:
        return launcher.launch(jobs, slots, _say)
    except Stopped:
        _say(f"interrupted; to continue: python {shlex.join(sys.argv)}")
        sys.exit(INTERRUPTED)


def _say(line: str) -> None:
    """Prints a line; a closed terminal does not stop the runs."""
    with suppress(OSError):
        print(line, flush=True)


def _write_table(output: Path, table: Table, settings: Settings, plan: Sequence[tuple[Run, Status]]) -> None:
    """Writes OUTPUT.md and OUTPUT.json if there are finished runs."""
    finished = [(run, read_outcome(Workdir(status.workdir))) for run, status in plan if status.kind == "done"]
    if not finished:
        _say("no run is finished, so no table is written")
        return
    last_lines = {run.name: launcher.last_line(status.log) for run, status in plan if status.kind != "done"}
    content = table_json(table, settings, finished, {name: line for name, line in last_lines.items() if line})
    text = table_markdown(content)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output.with_name(f"{output.name}.json"), content)
    write_atomically(output.with_name(f"{output.name}.md"), text.encode())
    _say(f"\n{text}\nwritten: {output}.md {output}.json")


def recipe_list() -> str:
    """The page ``docs/configs.md``: every shipped recipe with its number of trained parameters."""
    page = LIST_HEAD
    for reference, description in shipped_recipes():
        file, colon, name = reference.partition(":")
        config = resolve(load_recipe(reference))
        trains_backbone = config.pretraining.dataset == "imagenet2012"
        count = "the backbone's" if trains_backbone else f"{_trained_parameters(network_settings(config)):,}"
        page += f"| `{file}.py{colon}{name}` | {count} | {description} |\n"
    return page


@cache
def _trained_parameters(settings: NetworkSettings) -> int:
    shapes: Any = jax.eval_shape(lambda: init_head(build_model(settings), 0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
