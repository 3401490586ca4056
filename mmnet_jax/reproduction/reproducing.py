"""The table runner: plan the runs of a table, run what is missing, write the table."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mmnet_jax.cli.command import INTERRUPTED
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import TABLES, Table, TableRow
from mmnet_jax.storage.files import write_whole

if TYPE_CHECKING:
    from mmnet_jax.reproduction.runs import Run, Settings
    from mmnet_jax.reproduction.status import Status

FAILED = 1
"""Exit status after a run failed."""


def define_flags() -> None:
    flags.DEFINE_enum("table", None, list(TABLES), "The table.")
    flags.DEFINE_list("rows", [], "Some of its rows. (default: all)")
    flags.DEFINE_list("folds", [], "Some of its folds, 0..3. (default: all that the table has)")
    flags.DEFINE_list("seeds", ["321"], "Seeds of initialisation and episodes; numbers are means over them.")
    flags.DEFINE_string("runs", "runs", "Folder of the workdirs.")
    flags.DEFINE_string("data_dir", "data", "Folder of the prepared datasets.")
    flags.DEFINE_string("weights", "weights", "Folder of BACKBONE.safetensors files, or one such file.")
    flags.DEFINE_multi_string("set", [], "FIELD=VALUE changes a config field in all runs; may be repeated.")
    flags.DEFINE_enum(
        "launcher", "none", ["none", "local", "slurm"], "One run after the other, several here, or Slurm jobs."
    )
    flags.DEFINE_integer("parallel", None, "Runs at a time. (default of local: one a GPU)", lower_bound=1)
    flags.DEFINE_multi_string("slurm_options", [], "NAME=VALUE of submitit, as in partition=gpu; may be repeated.")
    flags.DEFINE_bool("dry_run", False, "List the runs and say which results exist.")
    flags.DEFINE_bool("any_code", False, "Also accept runs of other versions of the code.")
    flags.DEFINE_string("output", None, "The table's files, without .md and .json. (default: RUNS/table_NAME)")
    flags.DEFINE_bool("list", False, "Print all recipes with their number of trained parameters and exit.")


def main(given: flags.FlagValues) -> None:
    """``scripts/reproduce.py``.

    Raises:
      UserError: a flag is wrong, or data or weights are missing.
    """
    if given.list:
        from mmnet_jax.reproduction.listing import listing

        print(listing(), end="")
        return
    if given.table is None:
        raise UserError(f"--table is missing: it is one of {', '.join(TABLES)}.")
    if given.launcher == "none" and (given.parallel or 1) > 1:
        raise UserError(f"--parallel={given.parallel} needs --launcher=local or --launcher=slurm.")

    from mmnet_jax.reproduction.runs import Settings, picked_rows, plan_runs
    from mmnet_jax.reproduction.status import find_status, refuse_missing

    table = TABLES[given.table]
    rows = picked_rows(table, given.rows)
    folds = _numbers("folds", given.folds, 0, 3) or table.folds
    seeds = _numbers("seeds", given.seeds, 0, 2**31 - 1)
    if not seeds:
        raise UserError("--seeds is empty.")
    settings = Settings(Path(given.runs), given.data_dir, given.weights, tuple(given.set))
    runs = plan_runs(rows, folds, seeds, settings)
    plan = [(run, find_status(run, given.any_code)) for run in runs]
    for run, status in plan:
        if given.dry_run:
            print(f"{run.name}: {status.kind} ({status.workdir})")
        for place in status.left_alone:
            print(f"left alone: {place}")
    if given.dry_run:
        return
    output = Path(given.output.removesuffix(".md").removesuffix(".json")) if given.output else None
    output = output or settings.runs / f"table_{given.table}"
    missing = [(run, status.workdir) for run, status in plan if status.kind != "done"]
    print(f"{len(missing)} of {len(plan)} runs to be made", flush=True)
    failures: list[str] = []
    try:
        refuse_missing(run.config for run, _ in missing)
        _refuse_unwritable(output)
        failures = _launch(given, missing)
    finally:
        plan = [(run, find_status(run, given.any_code)) for run in runs]
        _write_table(output, table, rows, folds, seeds, settings, plan)
    if failures:
        print(f"{len(failures)} of {len(missing)} runs failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(FAILED)


def _numbers(flag: str, words: Sequence[str], low: int, high: int) -> tuple[int, ...]:
    for word in words:
        if not word.strip().isdecimal() or not low <= int(word) <= high:
            raise UserError(f"--{flag} must be whole numbers from {low} to {high}, but holds {word!r}.")
    return tuple(dict.fromkeys(int(word) for word in words))


def _launch(given: flags.FlagValues, missing: Sequence[tuple[Run, Path]]) -> list[str]:
    """Runs or submits what is missing; a line about each run that failed."""
    from mmnet_jax.reproduction import launcher
    from mmnet_jax.reproduction.runs import training_command

    jobs = [launcher.Job(run.name, training_command(run, workdir), log_file(workdir)) for run, workdir in missing]
    if not jobs:
        return []
    if given.launcher == "slurm":
        executor = launcher.slurm_executor(
            Path(given.runs) / "slurm", f"table_{given.table}", given.parallel, given.slurm_options
        )
        print(f"submitted: {', '.join(launcher.submit(jobs, executor))}; repeat the command when they have ended")
        return []
    local = given.launcher == "local"
    slots = launcher.local_slots(given.parallel, launcher.visible_gpus()) if local else [{}]
    try:
        return launcher.launch(jobs, slots, _say)
    except launcher.Interrupted:
        _say(f"interrupted; to continue: python {shlex.join(sys.argv)}")
        sys.exit(INTERRUPTED)


def log_file(workdir: Path) -> Path:
    """The log of a run: beside its workdir, because a workdir may be made anew."""
    return workdir.with_name(f"{workdir.name}.log")


def _say(line: str) -> None:
    """Prints, even if the terminal is gone: the runs matter more."""
    with suppress(OSError):
        print(line, flush=True)


def _refuse_unwritable(output: Path) -> None:
    """Raises a ``UserError`` if the table cannot be written, before hours are spent on it."""
    for file in (f"{output}.md", f"{output}.json"):
        if Path(file).is_dir():
            raise UserError(f"--output: {file} is a folder.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(f"--output: {output}.md cannot be written: {error.strerror}.") from error


def _write_table(
    output: Path,
    table: Table,
    rows: Sequence[TableRow],
    folds: Sequence[int],
    seeds: Sequence[int],
    settings: Settings,
    plan: Sequence[tuple[Run, Status]],
) -> None:
    """Writes OUTPUT.md and OUTPUT.json from the finished runs, if there are any."""
    from mmnet_jax.reproduction.launcher import last_line
    from mmnet_jax.reproduction.report import filled, markdown
    from mmnet_jax.reproduction.scores import Outcome, read_outcome
    from mmnet_jax.workdir.folder import Workdir

    outcomes: dict[str, dict[tuple[int, int], Outcome]] = {}
    unfinished: dict[str, str] = {}
    for run, status in plan:
        if status.kind == "done":
            outcomes.setdefault(run.recipe, {})[run.fold, run.seed] = read_outcome(Workdir(status.workdir))
        elif words := last_line(log_file(status.workdir)):
            unfinished[run.name] = words
    if not outcomes:
        _say("no run has finished yet, so there is no table to write")
        return
    content = filled(table, rows, folds, seeds, outcomes, settings, unfinished)
    text = markdown(content)
    for suffix, written in (("json", json.dumps(content, indent=2, allow_nan=False) + "\n"), ("md", text)):
        write_whole(output.with_name(f"{output.name}.{suffix}"), written.encode())
    _say(f"\n{text}\nwritten: {output}.md {output}.json")
