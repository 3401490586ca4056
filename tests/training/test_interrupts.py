"""Interrupted trainings stop with a checkpoint; of several processes all stop at the same step."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from mmnet_jax.cli.progress import Printer
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.workdir.checkpoints import Checkpoints
from mmnet_jax.workdir.folder import Workdir
from tests.training.tiny_job import CONFIG
from tests.training.tiny_training import assert_close, final_parameters, interrupt_at, records, tiny_config, train_tiny


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_to_stop_and_the_second_stops_at_once(number, capfd):
    before, usual = signal.signal(signal.SIGHUP, signal.SIG_DFL), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts() as stop_requested:
            assert not stop_requested(1)
            send(number)
            assert stop_requested(2)
            assert capfd.readouterr().err.startswith("stopping after this step, with a checkpoint; once more stops now")
            send(number)
        assert signal.getsignal(signal.SIGINT) == usual
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_nohup_ignores_stays_ignored_and_waiting_takes_hold_of_no_device(monkeypatch):
    """The table runner waits, too, and leaves its GPUs to its runs."""
    monkeypatch.setattr(jax, "process_count", lambda: pytest.fail("the backend was asked"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as stop_requested:
            send(signal.SIGHUP)
            assert not stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_loses_no_evaluation_and_in_the_last_step_stops_before_the_next_stage(tmp_path):
    config = tiny_config(evaluate_every=3, checkpoint_every=3)
    with pytest.raises(Stopped, match="training stopped at step 3 of 8; a checkpoint is saved"):
        train_tiny(tmp_path / "run", config, interrupt_at(2))
    with Checkpoints(tmp_path / "run" / "checkpoints", config, read_only=True) as checkpoints:
        assert checkpoints.find("best") == 3
    config = tiny_config(evaluation_episodes=0)
    config.evaluation.after_training = True
    with pytest.raises(Stopped, match="training stopped at step 8 of 8; a checkpoint is saved"):
        train_tiny(tmp_path / "other", config, interrupt_at(8))


@pytest.mark.parametrize("interrupted", [False, True], ids=["closed", "interrupted and closed, as by | tee"])
def test_a_training_whose_output_nobody_reads_stops_with_a_checkpoint(tmp_path, monkeypatch, unread, interrupted):
    printer = Printer()

    def say(line):
        if line.startswith("step 2/"):
            monkeypatch.setattr(sys, "stdout", unread)
            if interrupted:
                send(signal.SIGINT)
        printer(line)

    with pytest.raises(Stopped, match="training stopped at step 3 of 8; a checkpoint is saved"):
        train_tiny(tmp_path / "run", say=say)
    assert unread.write("more")  # goes nowhere
    with Checkpoints(tmp_path / "run" / "checkpoints", tiny_config(), read_only=True) as checkpoints:
        assert checkpoints.latest() == 3


def run_two(*command, signals):
    """Two processes that start as one job, each with the signal that it gets; their outputs."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    shared |= {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, *command, name], env=shared | {"JAX_PROCESS_ID": str(number)}, **pipes)
        for number, name in enumerate(signals)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [output for output, _ in outputs]


WAITING = """
import os, signal, sys, time
from mmnet_jax.cli.signals import interrupts
from mmnet_jax.train import _join_processes

signal.signal(signal.SIGTERM, signal.default_int_handler)  # as every command does first
_join_processes()
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
    first, second = run_two("-c", WAITING, signals=("never", "SIGTERM"))
    assert first == second and first.startswith("stopped at")


@pytest.mark.slow
def test_two_processes_stop_together_resume_and_train_what_one_does(tmp_path):
    place = tmp_path / "run"
    first, second = run_two("-m", "tests.training.tiny_job", str(place), signals=("never", "SIGINT"))
    stopped = [re.search(r"training stopped at step (\d+) of 12; .*", output) for output in (first, second)]
    step = int(stopped[0][1])
    assert stopped[0][0] == stopped[1][0] and 7 <= step < 12 and f"['{step}']" in stopped[0][0]
    assert f"resuming {place} at step {step} of 12" in first and ", 2 cpu device(s)" in first
    assert not re.search("^step", second, re.MULTILINE)
    result = json.loads((place / "results" / "result.json").read_text())
    assert result["hardware"] == "2 x cpu" and result["step"] == 12

    alone = train_tiny(tmp_path / "alone", tiny_config(**CONFIG))
    together = Workdir(place)
    assert_close(final_parameters(together), final_parameters(alone))
    losses = [[record["total"] for record in records(workdir, "total")] for workdir in (together, alone)]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(*losses, rtol=1e-4)
