"""Runs as processes: one at a time, several in parallel on this machine, or as Slurm jobs."""

import datetime
import os
import platform
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import mmnet_jax
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.errors import UserError

STOPPING = b"stopping the runs at their next checkpoint; a second signal kills them\n"
HEADER = "# "
"""Start of the line that each attempt writes into a log: time, machine and command."""
SLURM = {"time": 24 * 60, "nodes": 1, "ntasks_per_node": 1, "gpus_per_node": 1, "cpus_per_task": 8}
"""Default parameters of a Slurm job, as named by ``submitit.SlurmExecutor``; time in minutes."""
Slot = dict[str, str]
"""Environment variables of the processes that run in a slot."""


class Job(NamedTuple):
    """A process to run."""

    name: str
    command: Sequence[str]
    log: Path
    """File to which its output is appended."""

    def start(self, slot: Slot) -> subprocess.Popen[bytes]:
        """Starts the process in its own session, so that Ctrl-C does not reach it directly."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        package = str(Path(mmnet_jax.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        this_code = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # not another copy in the current folder
        with self.log.open("ab", buffering=0) as log:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            log.write(f"{HEADER}{now} on {platform.node()}: {shlex.join(self.command)}\n".encode())
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            return subprocess.Popen(self.command, env=os.environ | this_code | slot, start_new_session=True, **streams)

    def failure(self, status: int) -> str | None:
        """A line about the process if its exit ``status`` is a failure."""
        ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"{self.name} {ended}: {last_line(self.log)} (log: {self.log})" if status else None


def launch(jobs: Sequence[Job], slots: Sequence[Slot], say: Callable[[str], None], every: float = 60.0) -> list[str]:
    """Runs all jobs, one per slot at a time; returns a line about each failure. A failure does not stop other jobs.

    ``say`` gets a line when a job starts or ends, and the last line of its log every ``every`` seconds.

    Raises:
      Stopped: after an interrupt, when every process has ended. The first signal is passed on, so that trainings stop
        at a checkpoint; the second kills them.
    """
    free = list(slots)
    started: list[subprocess.Popen[bytes]] = []
    starting = Lock()  # an interrupt either finds a process in ``started`` or prevents its start

    def work(job: Job) -> str | None:
        slot = free.pop()
        try:
            with starting:
                if interrupted():
                    return None
                process = job.start(slot)
                started.append(process)
            say(f"{job.name}: started, log in {job.log}")
            while process.returncode is None:
                try:
                    process.wait(every)
                except subprocess.TimeoutExpired:
                    say(f"{job.name}: {last_line(job.log)}")
            failure = job.failure(process.returncode)
        except OSError as error:
            failure = f"{job.name} cannot start: {error.filename}: {error.strerror}"
        finally:
            free.append(slot)
        say(f"{job.name}: stopped" if interrupted() else failure or f"{job.name}: done")
        return failure

    with interrupts(STOPPING) as interrupted, ThreadPoolExecutor(len(slots)) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            while not interrupted() and wait(futures, timeout=0.2).not_done:
                pass
            with starting:
                for process in started:
                    process.terminate()
            wait(futures)
        except KeyboardInterrupt:
            for process in started:
                process.kill()
    if interrupted():
        raise Stopped
    return [failure for future in futures if (failure := future.result())]


def local_slots(parallel: int | None, gpus: Sequence[str]) -> list[Slot]:
    """``parallel`` slots (default: one per GPU), each with one of the GPUs."""
    count = parallel or max(1, len(gpus))
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if count > len(gpus) > 0 else {}
    return [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} | shared if gpus else {} for i in range(count)]


def visible_gpus() -> list[str]:
    """The usable NVIDIA GPUs, as named in ``CUDA_VISIBLE_DEVICES``."""
    tool, chosen = shutil.which("nvidia-smi"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if tool is None or os.environ.get("JAX_PLATFORMS", "").lower() == "cpu":
        return []
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False).stdout
    return [str(i) for i, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


class SlurmTask:
    """A job that submitit calls on a node. At the time limit it stops at a checkpoint and is queued again."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self) -> None:
        before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm sends submitit's signal to the child too
        self.process = self.job.start({})
        signal.signal(signal.SIGUSR2, before)
        if failure := self.job.failure(self.process.wait()):
            raise RuntimeError(failure)

    def checkpoint(self) -> Any:
        """The job that submitit queues next; submitit calls this in a signal handler."""
        from submitit.helpers import DelayedSubmission

        self.process.terminate()
        os.waitpid(self.process.pid, 0)  # the interrupted process.wait() holds the lock of another one
        return DelayedSubmission(SlurmTask(self.job))


def submit(jobs: Sequence[Job], folder: Path, name: str, parallel: int | None, options: Sequence[str]) -> list[str]:
    """Submits the jobs as one array, ``parallel`` at a time, with submitit's files in ``folder``; returns their ids.

    ``options`` are parameters ``NAME=VALUE`` of ``submitit.SlurmExecutor``; an unknown one is a ``UserError``.
    """
    try:
        import submitit
    except ImportError:
        raise UserError("--launcher=slurm needs submitit; install it with: pip install 'mmnet-jax[cluster]'") from None
    pairs = [option.partition("=") for option in options]
    parameters = SLURM | {key: int(value) if value.isdecimal() else value for key, _, value in pairs}
    try:
        executor = submitit.SlurmExecutor(folder)
        executor.update_parameters(job_name=name, array_parallelism=parallel or len(jobs), **parameters)
    except (RuntimeError, ValueError, NameError) as error:
        raise UserError(f"--launcher=slurm: {error}") from error
    with executor.batch():
        submitted = [executor.submit(SlurmTask(job)) for job in jobs]
    return [task.job_id for task in submitted]


def last_line(log: Path) -> str:
    """The last line of a process in its log; empty if there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip() and not line.startswith(HEADER)), "")
