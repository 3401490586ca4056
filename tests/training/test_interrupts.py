"""Interrupted trainings stop with a checkpoint."""

import os
import signal
import sys

import jax
import pytest

from mmnet_jax.cli.progress import Printer
from mmnet_jax.cli.signals import Stopped, interrupts
from mmnet_jax.workdir.checkpoints import Checkpoints
from tests.training.tiny_training import interrupt_at, tiny_config, train_tiny


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
