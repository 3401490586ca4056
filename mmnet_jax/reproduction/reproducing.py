"""What ``scripts/reproduce.py`` does: plan, run what is missing, fill the table."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from absl import flags

from mmnet_jax.cli.command import INTERRUPTED
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import TABLES
from mmnet_jax.storage.files import write_whole

FAILED = 1
"""Exit status where a run failed."""


def define_flags() -> None:
    flags.DEFINE_enum("table", None, list(TABLES), "Which table.")
    flags.DEFINE_list("rows", [], "Some of its rows. (default: all)")
    flags.DEFINE_list("folds", [], "Some of its folds, 0..3. (default: all that the table has)")
    flags.DEFINE_list("seeds", ["321"], "Of parameters, training and test episodes; numbers are means over them.")
    flags.DEFINE_string("runs", "runs", "Folder of the workdirs.")
    flags.DEFINE_string("data_dir", "data", "Where the prepared datasets are.")
    flags.DEFINE_string("weights", "weights", "Folder of BACKBONE.safetensors files, or one such file.")
    flags.DEFINE_multi_string("set", [], "FIELD=VALUE changes a config field in all runs; may be repeated.")
    flags.DEFINE_enum(
        "launcher", "local", ["local", "slurm"], "Run here, or print a Slurm array script and run nothing."
    )
    flags.DEFINE_integer("parallel", None, "Runs at a time. (default: one a GPU; one without GPUs)", lower_bound=1)
    flags.DEFINE_multi_string(
        "slurm_options", [], "More lines of the script, as in --slurm_options=--partition=gpu,--nodelist=a1,a2"
    )
    flags.DEFINE_bool("dry_run", False, "List the runs with where they stand and the time they would take.")
    flags.DEFINE_bool("any_code", False, "Take what other versions of the code made as done or begun, too.")
    flags.DEFINE_string("output", None, "The table's files, without .md and .json. (default: RUNS/table_NAME)")
    flags.DEFINE_bool("list", False, "Print all configurations with their number of trained parameters, and end.")


def main(given: flags.FlagValues) -> None:
    """The script.

    Raises:
      UserError: a flag is wrong, or data or weights are missing.
    """
    if given.list:
        from mmnet_jax.reproduction.listing import listing

        print(listing(), end="")
        return
    if given.table is None:
        raise UserError(f"--table is missing: it is one of {', '.join(TABLES)}.")

    from mmnet_jax.reproduction.runs import Settings, named_table, picked_rows, plan_runs

    table = named_table(given.table)
    rows = picked_rows(table, given.rows)
    folds = _numbers("folds", given.folds, 0, 3) or table.folds
    seeds = _numbers("seeds", given.seeds, 0, 2**31 - 1)
    if not seeds:
        raise UserError("--seeds is empty.")
    settings = Settings(Path(given.runs), given.data_dir, given.weights, tuple(given.set))
    runs = plan_runs(rows, folds, seeds, settings)
    from mmnet_jax.reproduction.states import find_states

    plan = find_states(runs, given.any_code)

    if given.dry_run:
        from mmnet_jax.reproduction.dry_run import describe

        for line in describe(table, rows, plan, settings, given.parallel):
            print(line, flush=True)
        return
    from mmnet_jax.reproduction.requirements import refuse_missing

    to_be_made = [run for run, state in plan if state.kind in ("begun", "new")]
    if given.launcher == "slurm":
        from mmnet_jax.reproduction.slurm import script

        refuse_missing(to_be_made)
        _tell_passed_over(plan, sys.stderr)
        jobs = _jobs(plan)
        if jobs:
            settings.runs.mkdir(parents=True, exist_ok=True)  # or Slurm could not write there
            options = [option for given_once in given.slurm_options for option in re.split(r",(?=-)", given_once)]
            print(script(jobs, f"table_{given.table}", settings.runs, options, given.parallel), end="")
        print(f"{len(jobs)} of {len(plan)} runs are to be made", file=sys.stderr)
        return
    output = Path(given.output.removesuffix(".md").removesuffix(".json")) if given.output else None
    output = output or settings.runs / f"table_{given.table}"
    write = partial(_write_table, output, table, rows, folds, seeds, settings)
    try:
        refuse_missing(to_be_made)
    except UserError:
        if any(state.kind == "done" for _, state in plan):
            write(plan)  # what is there is worth a table all the same
        raise
    _refuse_unwritable(output)
    _tell_passed_over(plan, sys.stdout)
    failed = _launch(plan, _jobs(plan), given.parallel)
    write(find_states(runs, given.any_code))
    if failed:
        sys.exit(FAILED)


def _numbers(flag: str, words: Sequence[str], low: int, high: int) -> tuple[int, ...]:
    for word in words:
        if not word.strip().isdecimal() or not low <= int(word) <= high:
            raise UserError(f"--{flag} must be whole numbers from {low} to {high}, but holds {word!r}.")
    return tuple(dict.fromkeys(int(word) for word in words))


def _jobs(plan: Any) -> list[Any]:
    from mmnet_jax.reproduction.launching import Job, log_of
    from mmnet_jax.reproduction.runs import training_command

    return [
        Job(run.name, training_command(run, state.workdir), log_of(state.workdir))
        for run, state in plan
        if state.kind in ("begun", "new")
    ]


def _launch(plan: Any, jobs: Sequence[Any], parallel: int | None) -> bool:
    """Runs what is to be run; whether something failed."""
    from mmnet_jax.reproduction.launching import Interrupted, launch, slots, visible_gpus

    if not jobs:
        return False
    gpus = visible_gpus()
    shares = slots(gpus, parallel, len(jobs))
    done = sum(state.kind == "done" for _, state in plan)
    where = f"{len(gpus)} GPU(s)" if gpus else "the processor's cores"
    print(
        f"runs to be made: {len(jobs)}, done before: {done}; {len(shares)} at a time on {where}",
        flush=True,
    )
    try:
        failures = launch(jobs, shares, _tell)
    except Interrupted:
        _tell(f"interrupted; to go on: python {shlex.join(sys.argv)}")
        sys.exit(INTERRUPTED)
    if failures:
        print(f"\n{len(failures)} of {len(jobs)} runs failed:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure}", file=sys.stderr)
    return bool(failures)


def _tell(line: str) -> None:
    """Prints, also where the terminal is gone: runs are worth more than what is told of them."""
    with suppress(OSError):
        print(line, flush=True)


def _tell_passed_over(plan: Any, to: TextIO) -> None:
    for run, state in plan:
        for place in state.passed_over:
            print(f"left alone: {place}", file=to)
        if state.kind == "running":
            print(f"{run.name} is being trained by another process in {state.workdir}", file=to)


def _refuse_unwritable(output: Path) -> None:
    """Raises a ``UserError`` where the table could not be written, before hours are spent on it."""
    for file in (f"{output}.md", f"{output}.json"):
        if Path(file).is_dir():
            raise UserError(f"--output: {file} is a folder.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise UserError(f"--output: {output}.md cannot be written: {error.strerror}.") from error


def _write_table(output: Path, table: Any, rows: Any, folds: Any, seeds: Any, settings: Any, plan: Any) -> None:
    from mmnet_jax.reproduction.filling import filled, markdown
    from mmnet_jax.reproduction.launching import last_line, log_of
    from mmnet_jax.reproduction.scores import read_outcome
    from mmnet_jax.workdir.folder import Workdir

    outcomes: dict[str, dict[tuple[int, int], Any]] = {}
    unfinished: dict[str, str] = {}
    for run, state in plan:
        if state.kind == "done":
            outcomes.setdefault(run.reference, {})[run.fold, run.seed] = read_outcome(Workdir(state.workdir))
        elif words := last_line(log_of(state.workdir)):
            unfinished[run.name] = words
    if not outcomes:
        raise UserError("no run is done, so there is no table to write.")
    content = filled(table, rows, folds, seeds, outcomes, settings, unfinished)
    text = markdown(content)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(
        output.with_name(f"{output.name}.json"), (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
    )
    write_whole(output.with_name(f"{output.name}.md"), text.encode())
    print(f"\n{text}\nwritten: {output}.md {output}.json")
