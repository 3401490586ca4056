"""Runs spread over this machine: one process to a GPU, or to a share of the processor's cores."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import mmnet_jax

ROOT = Path(mmnet_jax.__file__).resolve().parents[1]
"""The folder that this package lies in."""

HEADER = "# "
"""Begins the line that a launch writes into a run's log: when, on which machine, the command."""


class Job(NamedTuple):
    """One process to be run."""

    name: str
    command: Sequence[str]
    log: Path
    """Gets its output, behind that of earlier attempts."""


class Failure(NamedTuple):
    """A process that did not end well."""

    job: Job
    status: int
    refused: str = ""
    """Why it could not be started, if so."""

    def __str__(self) -> str:
        if self.refused:
            return f"{self.job.name} could not be started: {self.refused}"
        ended = f"was killed by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"
        return f"{self.job.name} {ended}: {last_line(self.job.log)} (log: {self.job.log})"


class Slot(NamedTuple):
    """A share of the machine."""

    cores: frozenset[int]
    variables: dict[str, str]
    """Of the environment."""


class Interrupted(Exception):
    """The launch was interrupted; its processes have ended."""


def visible_gpus() -> list[str]:
    """Names, as ``CUDA_VISIBLE_DEVICES`` has them, of the GPUs that may be used here; asked of NVIDIA's own tool."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    tool = shutil.which("nvidia-smi")
    if tool is None or os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return []
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    try:
        listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(i) for i, line in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def slots(gpus: Sequence[str], parallel: int | None = None, jobs: int | None = None) -> list[Slot]:
    """Shares of the machine for ``parallel`` processes: as many as there are GPUs if not given, one without GPUs.

    There are no more than ``jobs``, so that few share the whole machine.

    The cores are dealt out among all processes, and so are the GPUs; several processes on one take its memory as they
    need it instead of most of it at once.
    """
    count = parallel or max(1, len(gpus))
    if jobs is not None:
        count = max(1, min(count, jobs))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = []
    for i in range(count):
        own = cores[i * len(cores) // count : (i + 1) * len(cores) // count] or cores[i % max(1, len(cores)) :][:1]
        variables = {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {}
        if count > len(gpus) > 0:
            variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        shares.append(Slot(frozenset(own), variables))
    return shares


def launch(
    jobs: Sequence[Job], slots: Sequence[Slot], say: Callable[[str], None], *, every: float = 60.0, poll: float = 0.5
) -> list[Failure]:
    """Runs all jobs, as many at a time as there are slots; one that fails does not stop the others.

    Args:
      jobs: in the order in which to begin them.
      slots: shares of the machine.
      say: gets a line when a job begins or ends, and one for each that runs every so often.
      every: how often, seconds.
      poll: seconds between two looks at the processes.

    Returns:
      The jobs that failed.

    Raises:
      Interrupted: after Ctrl-C, SIGTERM or SIGHUP, once every process has ended; the first is passed on to them, which
        then end at a safe place, a second one as well, a third one kills them.
    """
    waiting, free = deque(enumerate(jobs, 1)), deque(slots)
    running: dict[int, tuple[subprocess.Popen[bytes], Job, Slot]] = {}
    failures: list[Failure] = []
    said = time.monotonic()
    with _interrupts() as asked:
        try:
            while running or (waiting and not asked()):
                while waiting and free and not asked():
                    number, job = waiting.popleft()
                    try:
                        process = _start(job, free[0])
                    except OSError as error:
                        failures.append(Failure(job, 0, f"{error.filename}: {error.strerror}"))
                        say(f"[{number}/{len(jobs)}] {failures[-1]}")
                        continue
                    running[number] = (process, job, free.popleft())
                    say(f"[{number}/{len(jobs)}] {job.name}: started, log in {job.log}")
                for number, (process, job, slot) in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[number]
                    free.append(slot)
                    if asked():
                        say(f"[{number}/{len(jobs)}] {job.name}: stopped")
                    elif process.returncode:
                        failures.append(Failure(job, process.returncode))
                        say(f"[{number}/{len(jobs)}] {failures[-1]}")
                    else:
                        say(f"[{number}/{len(jobs)}] {job.name}: done")
                if asked():
                    _pass_on(asked(), [process for process, _, _ in running.values()])
                if time.monotonic() - said >= every:
                    said = time.monotonic()
                    for number, (_, job, _) in running.items():
                        say(f"[{number}/{len(jobs)}] {job.name}: {last_line(job.log)}")
                if running:
                    time.sleep(poll)
        finally:
            for process, _, _ in running.values():
                process.kill()
        if asked():
            raise Interrupted
    return failures


def log_of(workdir: Path) -> Path:
    """Where the output of a run in ``workdir`` goes: beside it, since the folder may be made anew."""
    return workdir.with_name(f"{workdir.name}.log")


def last_line(log: Path) -> str:
    """The last line of a log that a process wrote."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip() and not line.startswith(HEADER)), "")


def _start(job: Job, slot: Slot) -> subprocess.Popen[bytes]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with job.log.open("ab") as log:
        log.write(f"{HEADER}{now} on {platform.node()}: {shlex.join(job.command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | own_code(os.environ.get("PYTHONPATH")) | slot.variables,
            start_new_session=True,  # so that Ctrl-C reaches it through us alone, once
        )
    if slot.cores and hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):  # which it is if it ended at once
            os.sched_setaffinity(process.pid, slot.cores)  # before it starts threads, which inherit it
    return process


def own_code(path: str | None) -> dict[str, str]:
    """Variables by which a Python process runs the code that runs here, whatever lies in the current folder.

    Args:
      path: what else is to be in ``PYTHONPATH``.
    """
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])]), "PYTHONSAFEPATH": "1"}


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C, SIGTERM and SIGHUP instead of being stopped by them; what ``nohup`` ignores stays ignored."""
    count = 0

    def add(number: int, frame: Any) -> None:
        nonlocal count
        count += 1

    wanted = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, add) for number in wanted}
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pass_on(asked: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Sends each process as many SIGTERMs as were asked for, and from the third on kills it."""
    for process in processes:
        sent = getattr(process, "sent", 0)
        if sent < asked:
            process.sent = sent + 1  # type: ignore[attr-defined]
            if sent < 2:
                process.terminate()
            else:
                process.kill()
