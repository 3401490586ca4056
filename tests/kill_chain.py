"""Kills a training again and again, and sees whether it ends with the result of one that was left alone.

    python -m tests.kill_chain --kills=20 -- python -m mmnet_jax.train --config=configs/quickstart.py \
        --workdir={folder}/run --config.data.data_dir={folder}/data

``{folder}`` is a new folder for each chain: one is left alone, the others are killed (SIGKILL) at moments drawn
uniformly over the time that the first one took, ``--per_chain`` of them one after the other, and restarted by the same
command until they end. A share of the kills waits for the next file or folder that is being written, and strikes then.
All files of the result must be the same but for ``--ignore`` in result.json. Prints a table in Markdown; status 1 if
any result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

UNFINISHED = (".orbax-checkpoint-tmp", ".part")
"""Endings of what is being written."""


class Moment(NamedTuple):
    """When to kill."""

    stage: int
    """From 0, by the lines ``[1/4] ...``."""
    after: float
    """Seconds since that stage began (or the process, where that begins later)."""
    writing: bool
    """Wait from then on for something that is being written."""


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    lines: list[tuple[float, str]]
    """What it said, and the seconds since its start."""
    seconds: float
    stage: int
    """The one it was in at its end."""
    left: int
    """Processes that it had started and that outlived it by five seconds."""

    def resumed_from(self) -> str:
        """The steps that its stages went on from."""
        found = [re.search(r"(?:resuming|done before:) .*?step (\d+)", line) for _, line in self.lines]
        return ", ".join(f[1] for f in found if f) or "-"


def run(command: Sequence[str], folder: Path, moment: Moment | None = None) -> Ended:
    """Runs a command to its end, or until it is killed at ``moment``."""
    start = time.monotonic()
    process = subprocess.Popen(
        [part.replace("{folder}", str(folder)) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines: list[tuple[float, str]] = []
    reader = threading.Thread(target=_read, args=(process, lines, start))
    reader.start()
    if moment is not None:
        _wait_for(moment, process, lines, start, folder)
        process.kill()
    process.wait()
    seconds = time.monotonic() - start
    left = _end_group(process.pid, patience=5.0)
    reader.join()
    return Ended(process.returncode, lines, seconds, max(0, len(_stages(lines)) - 1), left)


def _read(process: subprocess.Popen[str], lines: list[tuple[float, str]], start: float) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append((time.monotonic() - start, line.rstrip("\n")))


def _stages(lines: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """When each stage began, and its name."""
    found = [(at, re.match(r"\[\d+/\d+\] (\w+):", line)) for at, line in list(lines)]
    return [(at, match[1]) for at, match in found if match]


def _wait_for(
    moment: Moment, process: subprocess.Popen[str], lines: list[tuple[float, str]], start: float, folder: Path
) -> None:
    while process.poll() is None:
        stages = _stages(lines)
        if len(stages) > moment.stage and time.monotonic() - start >= stages[moment.stage][0] + moment.after:
            break
        time.sleep(0.005)
    while moment.writing and process.poll() is None and not _writes(folder):
        time.sleep(0.001)


def _writes(folder: Path) -> bool:
    return any(name.endswith(UNFINISHED) for _, folders, files in os.walk(folder) for name in folders + files)


def _end_group(group: int, patience: float) -> int:
    """Ends what is left of a process group, and counts what did not end by itself."""
    deadline = time.monotonic() + patience
    while (left := _members(group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        os.killpg(group, signal.SIGKILL)
    return len(left)


def _members(group: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, own = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(own) == group and state != "Z":
            found.append(int(status.parent.name))
    return found


def result_of(folder: Path, ignore: Sequence[str]) -> dict[str, Any]:
    """The result's files: the fields of result.json without those to ignore, and the others' bytes."""
    (path,) = folder.rglob("results/result.json")
    fields = {f"result.json {k}": v for k, v in json.loads(path.read_text()).items() if k not in ignore}
    others = {file.name: file.read_bytes() for file in path.parent.glob("result.*") if file != path}
    return fields | others


def draw_moments(whole: Ended, count: int, at_writes: float, seed: int) -> list[Moment]:
    """``count`` moments over the time from the first stage's beginning to the end, in order."""
    draw = random.Random(seed)
    begins = [at for at, _ in _stages(whole.lines)]
    moments = []
    for number in range(count):
        at = draw.uniform(begins[0], whole.seconds)
        stage = max(i for i, begin in enumerate(begins) if begin <= at)
        moments.append(Moment(stage, at - begins[stage], number < at_writes * count))
    return sorted(moments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per_chain", type=int, default=5, help="kills of one chain, one after the other")
    parser.add_argument("--at_writes", type=float, default=0.3, help="share of the kills that wait for a write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ignore", default="date", help="fields of result.json that may differ, by commas")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    ignore = asked.ignore.split(",")
    print(f"command: {shlex.join(asked.command)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kill_chain-") as place:
        whole_folder = Path(place, "whole")
        whole = run(asked.command, whole_folder)
        if whole.status:
            sys.exit("\n".join(["the command fails by itself:", *(line for _, line in whole.lines)]))
        names = [name for _, name in _stages(whole.lines)]
        wanted = result_of(whole_folder, ignore)
        print(f"left alone: {whole.seconds:.1f} s\n", flush=True)
        print("| kill | stage | of it, s | while writing | went on from step | left running | same result |")
        print("|---|---|---|---|---|---|---|", flush=True)
        moments = draw_moments(whole, asked.kills, asked.at_writes, asked.seed)
        chains = -(-asked.kills // asked.per_chain)
        differing = 0
        for chain in range(chains):
            rows, moments_of = [], moments[chain::chains]
            folder = Path(place, f"chain{chain}")
            ended = [run(asked.command, folder, moment) for moment in moments_of]
            ended.append(run(asked.command, folder))
            told = _compare(ended[-1], folder, wanted, ignore)
            differing += told != "yes"
            for moment, killed, after in zip(moments_of, ended, ended[1:], strict=False):
                stages = _stages(killed.lines)
                stage, into = (
                    (names[killed.stage], killed.seconds - stages[-1][0]) if stages else ("start", killed.seconds)
                )
                if killed.status != -signal.SIGKILL:
                    stage = f"none: it had ended ({killed.status})"
                rows.append((stage, f"{into:.1f}", "yes" if moment.writing else "", after.resumed_from(), killed.left))
            for number, row in enumerate(rows):
                cells = (f"{chain + 1}.{number + 1}", *row, told if number + 1 == len(rows) else "")
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print(f"\n{chains - differing} of {chains} chains ended with the same result")
    return 1 if differing else 0


def _compare(last: Ended, folder: Path, wanted: dict[str, Any], ignore: Sequence[str]) -> str:
    if last.status:
        return f"no: the last run ended with {last.status}: {last.lines[-1][1] if last.lines else ''}"
    found = result_of(folder, ignore)
    differing = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    return f"no: {', '.join(differing)}" if differing else "yes"


if __name__ == "__main__":
    sys.exit(main())
