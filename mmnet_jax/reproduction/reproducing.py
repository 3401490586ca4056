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
from mmnet_jax.cli.signals import Stopped
from mmnet_jax.errors import UserError
from mmnet_jax.reproduction.tables import TABLES
from mmnet_jax.storage.files import write_whole

if TYPE_CHECKING:
    from mmnet_jax.reproduction.runs import Run, Selection, Settings
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
    launchers = ["none", "local", "slurm"]
    flags.DEFINE_enum("launcher", "none", launchers, "One run after the other, several here, or Slurm jobs.")
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

    from mmnet_jax.reproduction.runs import Settings, plan_runs, select
    from mmnet_jax.reproduction.status import find_status, refuse_missing

    selection = select(given.table, given.rows, given.folds, given.seeds)
    settings = Settings(Path(given.runs), given.data_dir, given.weights, tuple(given.set))
    runs = plan_runs(selection, settings)
    plan = [(run, find_status(run, given.any_code)) for run in runs]
    for run, status in plan:
        if given.dry_run:
            print(f"{run.name}: {status.kind} ({status.workdir})")
        for place in status.left_alone:
            print(f"left alone: {place}")
    if given.dry_run:
        return
    name = given.output.removesuffix(".md").removesuffix(".json") if given.output else None
    output = Path(name) if name else settings.runs / f"table_{given.table}"
    missing = [(run, status) for run, status in plan if status.kind != "done"]
    print(f"{len(missing)} of {len(plan)} runs to be made", flush=True)
    failures: list[str] = []
    try:
        refuse_missing(run.config for run, _ in missing)
        _refuse_unwritable(output)
        failures = _launch(given, missing)
    finally:
        _write_table(output, selection, settings, [(run, find_status(run, given.any_code)) for run in runs])
    if failures:
        print(f"{len(failures)} of {len(missing)} runs failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(FAILED)


def _launch(given: flags.FlagValues, missing: Sequence[tuple[Run, Status]]) -> list[str]:
    """Runs or submits what is missing; a line about each run that failed."""
    from mmnet_jax.reproduction import launcher
    from mmnet_jax.reproduction.runs import training_command

    jobs = [launcher.Job(run.name, training_command(run, where.workdir), where.log) for run, where in missing]
    if given.launcher == "slurm" and jobs:
        folder, name = Path(given.runs) / "slurm", f"table_{given.table}"
        submitted = launcher.submit(jobs, folder, name, given.parallel, given.slurm_options)
        print(f"submitted: {', '.join(submitted)}; repeat the command when they have ended")
        return []
    local = given.launcher == "local"
    slots = launcher.local_slots(given.parallel, launcher.visible_gpus()) if local else [{}]
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


def _write_table(output: Path, selection: Selection, settings: Settings, plan: Sequence[tuple[Run, Status]]) -> None:
    """Writes OUTPUT.md and OUTPUT.json from the finished runs, if there are any."""
    from mmnet_jax.reproduction.launcher import last_line
    from mmnet_jax.reproduction.report import filled, markdown
    from mmnet_jax.reproduction.scores import read_outcome
    from mmnet_jax.workdir.folder import Workdir

    outcomes = {
        (run.recipe, run.fold, run.seed): read_outcome(Workdir(status.workdir))
        for run, status in plan
        if status.kind == "done"
    }
    if not outcomes:
        _say("no run has finished yet, so there is no table to write")
        return
    unfinished = {run.name: last_line(status.log) for run, status in plan if status.kind != "done"}
    content = filled(selection, settings, outcomes, {name: line for name, line in unfinished.items() if line})
    text = markdown(content)
    for suffix, written in (("json", json.dumps(content, indent=2, allow_nan=False) + "\n"), ("md", text)):
        write_whole(output.with_name(f"{output.name}.{suffix}"), written.encode())
    _say(f"\n{text}\nwritten: {output}.md {output}.json")
