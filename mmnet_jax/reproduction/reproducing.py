"""The table runner: plan the runs of a table, run what is missing, write the table."""

import json
import math
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax

from mmnet_jax.cli.command import INTERRUPTED
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.config import load_recipe, resolve, shipped_recipes
from mmnet_jax.config.values import network_settings
from mmnet_jax.errors import UserError
from mmnet_jax.models.heads.spec import NetworkSettings
from mmnet_jax.models.registry import build_model, init_head
from mmnet_jax.reproduction import launcher
from mmnet_jax.reproduction.report import filled, markdown
from mmnet_jax.reproduction.runs import (
    Run,
    Settings,
    Status,
    find_status,
    plan_runs,
    refuse_missing,
    select,
    training_seeds,
)
from mmnet_jax.reproduction.scores import read_outcome
from mmnet_jax.reproduction.tables import TABLES, Table
from mmnet_jax.storage.files import write_whole
from mmnet_jax.workdir.folder import Workdir

LIST_HEAD = """# Configurations

A configuration is a file of `configs/`, and where a file holds several, a name after a colon:
`python -m mmnet_jax.train --config=configs/ablations.py:fcm_only --workdir=DIR`. Any field can be changed on the
command line, as in `--config.fold=2`; `--help-config` lists them. The trained parameters are counted; the backbone is
frozen. Written by `python scripts/reproduce.py --list`.

| configuration | trained parameters | what it is |
| --- | ---: | --- |
"""


def main(given: Any) -> None:
    """``scripts/reproduce.py``: exit status 1 after a run failed; a ``UserError`` where data or weights are missing."""
    if given.list:
        print(recipe_list(), end="")
        return
    if given.table is None:
        raise UserError(f"--table is missing: it is one of {', '.join(TABLES)}.")
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
        for place in status.left_alone:
            print(f"left alone: {place}")
    if given.dry_run:
        return
    output = Path((given.output or f"{given.runs}/table_{given.table}").removesuffix(".md").removesuffix(".json"))
    missing = [(run, status) for run, status in plan if status.kind != "done"]
    print(f"{len(missing)} of {len(plan)} runs to be made", flush=True)
    failures: list[str] = []
    try:
        refuse_missing(run.config for run, _ in missing)
        _refuse_unwritable(output)
        failures = _launch(given, missing)
    finally:
        _write_table(output, table, settings, [(run, find_status(run, given.any_code)) for run in runs])
    if failures:
        print(f"{len(failures)} of {len(missing)} runs failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def _launch(given: Any, missing: Sequence[tuple[Run, Status]]) -> list[str]:
    """Runs or submits what is missing; a line about each run that failed."""
    flag = [] if given.compilation_cache is None else [f"--compilation_cache={given.compilation_cache}"]
    jobs = [launcher.Job(run.name, run.command(status.workdir) + flag, status.log) for run, status in missing]
    if given.launcher == "slurm" and jobs:
        array = Path(given.runs) / "slurm", f"table_{given.table}", given.parallel
        submitted = launcher.submit(jobs, *array, given.slurm_options)
        print(f"submitted: {', '.join(submitted)}; repeat the command when they have ended")
        return []
    slots = launcher.local_slots(given.parallel, launcher.visible_gpus()) if given.launcher == "local" else [{}]
    try:
        return launcher.launch(jobs, slots, _say)
    except Stopped:
        _say(f"interrupted; to continue: python {shlex.join(sys.argv)}")
        sys.exit(INTERRUPTED)


def _say(line: str) -> None:
    """Prints, even if the terminal is gone: the runs matter more."""
    with suppress(OSError):
        print(line, flush=True)


def _refuse_unwritable(output: Path) -> None:
    """Raises a ``UserError`` if the table cannot be written, before hours are spent on it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        raise UserError(f"--output: {output}.md cannot be written: {error.strerror}.") from error


def _write_table(output: Path, table: Table, settings: Settings, plan: Sequence[tuple[Run, Status]]) -> None:
    """Writes OUTPUT.md and OUTPUT.json from the finished runs, if there are any."""
    finished = [(run, read_outcome(Workdir(status.workdir))) for run, status in plan if status.kind == "done"]
    if not finished:
        _say("no run has finished yet, so there is no table to write")
        return
    last_lines = {run.name: launcher.last_line(status.log) for run, status in plan if status.kind != "done"}
    content = filled(table, settings, finished, {name: line for name, line in last_lines.items() if line})
    text = markdown(content)
    for suffix, written in (("json", json.dumps(content, indent=2, allow_nan=False) + "\n"), ("md", text)):
        write_whole(output.with_name(f"{output.name}.{suffix}"), written.encode())
    _say(f"\n{text}\nwritten: {output}.md {output}.json")


def recipe_list() -> str:
    """The page ``docs/configs.md``: every shipped recipe with its number of trained parameters."""
    page = LIST_HEAD
    for reference, about in shipped_recipes():
        file, colon, name = reference.partition(":")
        config = resolve(load_recipe(reference))
        of_backbone = config.pretraining.dataset == "imagenet2012"
        count = "the backbone's" if of_backbone else f"{_trained_parameters(network_settings(config)):,}"
        page += f"| `{file}.py{colon}{name}` | {count} | {about} |\n"
    return page


@cache
def _trained_parameters(settings: NetworkSettings) -> int:
    shapes: Any = jax.eval_shape(lambda: init_head(build_model(settings), 0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
