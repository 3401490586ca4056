"""Two processes of two devices train as one job: with one process's result, stopped or killed together."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest

from mmnet_jax.evaluation.checkpoint import restore, score_checkpoint
from mmnet_jax.evaluation.manifest import configured_manifest
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_job import job_config
from tests.training.tiny_training import Crash, assert_close, final_parameters, tiny_dataset, train_tiny


def run_two(*command, signals):
    """Runs two processes of one job, each with its signal; returns their exit statuses, outputs and errors."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    shared |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
    shared |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, *command, name], env=shared | {"JAX_PROCESS_ID": str(number)}, **pipes)
        for number, name in enumerate(signals)
    ]
    outputs, errors = zip(*[process.communicate(timeout=300) for process in processes], strict=True)
    return [process.returncode for process in processes], outputs, errors


WAITING = """
import os, signal, sys, time
from mmnet_jax.cli.signals import interrupts
from mmnet_jax.training.processes import join_processes

signal.signal(signal.SIGTERM, signal.default_int_handler)  # as every command does first
join_processes()
with interrupts() as stop_requested:
    for step in range(5, 500):
        if step == 7 and sys.argv[1] != "never":
            os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0.05)
        if stop_requested(step):
            print("stopped at", step)
            break
"""


def test_two_processes_agree_on_the_step_at_which_one_of_them_got_sigterm():
    statuses, (first, second), errors = run_two("-c", WAITING, signals=("never", "SIGTERM"))
    assert statuses == [0, 0], errors
    assert first == second and first.startswith("stopped at")
    assert "was killed" not in "".join(errors)


@pytest.mark.slow
def test_two_processes_stop_together_resume_and_equal_one_process(finished, tmp_path):
    place = tmp_path / "run"
    statuses, outputs, errors = run_two("-m", "tests.training.tiny_job", str(place), signals=("never", "SIGINT"))
    assert statuses == [0, 0], errors
    first, second = outputs
    stopped = [re.search(r"training stopped at step (\d+) of 8; .*", output) for output in outputs]
    step = int(stopped[0][1])
    assert stopped[0][0] == stopped[1][0] and 5 <= step < 8 and f"'{step}'" in stopped[0][0]
    assert f"resuming {place} at step {step} of 8" in first and ", 4 cpu device(s);" in first
    assert not re.search("^step", second, re.MULTILINE)
    together, table = Workdir(place), "result.episodes.csv"
    result = json.loads((together.results / "result.json").read_text())
    assert result["hardware"] == "4 x cpu" and result["step"] == 8

    assert_close(final_parameters(together), final_parameters(finished.workdir))
    config, dataset = job_config(), tiny_dataset()
    manifest = configured_manifest(dataset, config)
    again = score_checkpoint(restore(together), config, dataset, manifest, output=tmp_path / "result.json")
    assert again.summary["hardware"] == "8 x cpu"
    assert (tmp_path / table).read_text() == (together.results / table).read_text()


@pytest.mark.slow
def test_when_one_of_two_processes_is_killed_the_other_ends_and_one_process_resumes(finished, tmp_path):
    place, lines = tmp_path / "run", []

    def crash(line):
        if line.startswith("step 3/"):
            raise Crash

    with contextlib.suppress(Crash):
        train_tiny(place, job_config(), crash)
    begun = time.monotonic()
    statuses, (first, _), (error, _) = run_two(
        "-m", "tests.training.tiny_job", str(place), signals=("never", "SIGKILL")
    )
    assert time.monotonic() - begun < 120 and statuses[1] == -9 and statuses[0] not in (0, -9)
    assert f"resuming {place} at step 2 of 8" in first and "step 6/8" in first
    assert "process 0 of 2 was killed, or ended because another process of this training did; start all of" in error
    train_tiny(place, job_config(), lines.append)
    assert any(re.match(rf"resuming {place} at step [46] of 8", line) for line in lines)
    assert_close(final_parameters(Workdir(place)), final_parameters(finished.workdir))
