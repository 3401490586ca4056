"""Kills a training at random moments and compares its result with that of an uninterrupted one.

    python -m tests.kill_chain --kills=20 -- python -m mmnet_jax.train --config=configs/quickstart.py \
        --workdir={folder}/run --config.data.data_dir={folder}/data

``{folder}`` is a new folder for each chain of processes. The first chain runs uninterrupted; the others are killed
(SIGKILL) ``--per_chain`` times at moments drawn uniformly over the first one's duration, and restarted by the same
command until they end. A fraction of the kills waits for the next file or folder that is being written. All files of
the result must be equal but for the fields ``--ignore`` of result.json. Prints a Markdown table; exit status 1 if any
result differs.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

UNFINISHED = (".orbax-checkpoint-tmp", ".part")


class Moment(NamedTuple):
    """The moment of a kill: ``after`` seconds from the start of stage number ``stage``, or at the next write then."""

    stage: int
    after: float
    writing: bool


class Ended(NamedTuple):
    """A process that has ended: its exit status, its output with the seconds since its start, and its duration."""

    status: int
    lines: list[tuple[float, str]]
    seconds: float

    def stages(self) -> list[tuple[float, str]]:
        """Start and name of each stage that the output announces."""
        found = [(at, re.match(r"\[\d+/\d+\] (\w+):", line)) for at, line in list(self.lines)]
        return [(at, match[1]) for at, match in found if match]


def run(command: Sequence[str], folder: Path, moment: Moment | None = None) -> Ended:
    """Runs a command to its end, or kills it at ``moment``; its child processes must end with it."""
    parts = [part.replace("{folder}", str(folder)) for part in command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    start, lines = time.monotonic(), []
    process = subprocess.Popen(parts, start_new_session=True, **pipes)
    read = lambda: lines.extend((time.monotonic() - start, line.rstrip("\n")) for line in process.stdout)  # noqa: E731
    reader = threading.Thread(target=read)
    reader.start()
    ended = Ended(0, lines, 0.0)
    while moment and process.poll() is None:
        stages = ended.stages()
        if len(stages) > moment.stage and time.monotonic() - start >= stages[moment.stage][0] + moment.after:
            names = (name for _, folders, files in os.walk(folder) for name in folders + files)
            if not moment.writing or any(name.endswith(UNFINISHED) for name in names):
                process.kill()
        time.sleep(0.002)
    status, seconds = process.wait(), time.monotonic() - start
    reader.join(timeout=10)  # a child that outlives its parent keeps the pipe open
    assert not reader.is_alive(), f"processes of {parts} are still running"
    return Ended(status, lines, seconds)


def result_of(folder: Path, ignore: Sequence[str]) -> dict[str, Any]:
    """The fields of result.json except those to ignore, and the bytes of the result's other files."""
    (path,) = folder.rglob("results/result.json")
    fields = {f"result.json {k}": v for k, v in json.loads(path.read_text()).items() if k not in ignore}
    return fields | {file.name: file.read_bytes() for file in path.parent.glob("result.*") if file != path}


def draw_moments(whole: Ended, count: int, at_writes: float, seed: int) -> list[Moment]:
    """``count`` moments between the start of the first stage and the end, in order."""
    draw, begins = random.Random(seed), [at for at, _ in whole.stages()]
    moments = []
    for number in range(count):
        at = draw.uniform(begins[0], whole.seconds)
        stage = max(i for i, begin in enumerate(begins) if begin <= at)
        moments.append(Moment(stage, at - begins[stage], number < at_writes * count))
    return sorted(moments)


def run_chain(command: Sequence[str], folder: Path, moments: Sequence[Moment], wanted: Any, ignore: Any) -> list[list]:
    """Kills one chain at each moment, runs it to its end, and returns a table row for each kill."""
    ended = [run(command, folder, moment) for moment in [*moments, None]]
    rows = []
    for moment, killed, after in zip(moments, ended, ended[1:], strict=False):
        at, stage = (killed.stages() or [(0.0, "start")])[-1]
        if killed.status != -signal.SIGKILL:
            stage = f"none: it had ended ({killed.status})"
        steps = re.findall(r"(?:resuming|done before:) .*?step (\d+)", "\n".join(line for _, line in after.lines))
        writing = "yes" if moment.writing else ""
        rows.append([stage, f"{killed.seconds - at:.1f}", writing, ", ".join(steps) or "-", ""])
    found = result_of(folder, ignore) if not ended[-1].status else {"status": ended[-1].lines[-1:]}
    differing = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    rows[-1][-1] = f"no: {', '.join(differing)}" if differing else "yes"
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per_chain", type=int, default=5, help="kills of one chain, one after the other")
    parser.add_argument("--ignore", default="date", help="fields of result.json that may differ, by commas")
    parser.add_argument("command", nargs="+")
    flags = parser.parse_args()
    ignore, chains = flags.ignore.split(","), -(-flags.kills // flags.per_chain)
    with tempfile.TemporaryDirectory(prefix="kill_chain-") as place:
        whole = run(flags.command, Path(place, "whole"))
        if whole.status:
            sys.exit("\n".join(["the command fails without any kill:", *(line for _, line in whole.lines)]))
        wanted = result_of(Path(place, "whole"), ignore)
        moments = draw_moments(whole, flags.kills, at_writes=0.3, seed=0)
        print(f"uninterrupted: {whole.seconds:.1f} s\n")
        print("| kill | stage | seconds into it | while writing | resumed at step | same result |")
        print("|---|---|---|---|---|---|", flush=True)
        equal = 0
        for chain in range(chains):
            rows = run_chain(flags.command, Path(place, f"chain{chain}"), moments[chain::chains], wanted, ignore)
            equal += rows[-1][-1] == "yes"
            for number, row in enumerate(rows):
                print("| " + " | ".join([f"{chain + 1}.{number + 1}", *row]) + " |", flush=True)
    print(f"\n{equal} of {chains} chains ended with the same result")
    return 0 if equal == chains else 1


if __name__ == "__main__":
    sys.exit(main())
