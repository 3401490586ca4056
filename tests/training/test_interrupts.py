"""Interrupted trainings stop with a checkpoint."""

import os
import signal
import sys

import jax
import pytest

from mmnet_jax.cli.progress import Printer
from mmnet_jax.cli.signals import Stopped, interrupts
from tests.training.tiny_training import interrupt_at, tiny_config, train_tiny


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_requests_a_stop_and_the_second_stops_immediately(number, capfd):
    before, usual = signal.signal(signal.SIGHUP, signal.SIG_DFL), signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), interrupts() as stop_requested:
            assert not stop_requested(1)
            send(number)
            assert stop_requested(2)
            assert capfd.readouterr().err.startswith("stopping after this step and its checkpoint")
            send(number)
        assert signal.getsignal(signal.SIGINT) == usual
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_nohup_ignores_stays_ignored_and_no_backend_is_initialised(monkeypatch):
    """The table runner uses ``interrupts`` too, and leaves the GPUs to its runs."""
    monkeypatch.setattr(jax, "process_count", lambda: pytest.fail("initialises the backend"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as stop_requested:
            send(signal.SIGHUP)
            assert not stop_requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_in_the_last_step_stops_before_the_next_stage(tmp_path):
    config = tiny_config(evaluation_episodes=0)
    config.evaluation.after_training = True
    with pytest.raises(Stopped, match="training stopped at step 8 of 8; a checkpoint is saved"):
        train_tiny(tmp_path / "run", config, interrupt_at(8))


@pytest.mark.parametrize("interrupted", [False, True], ids=["closed", "interrupted and closed, as by | tee"])
def test_output_that_nobody_reads_requests_a_stop(monkeypatch, unread, interrupted):
    monkeypatch.setattr(sys, "stdout", unread)
    with interrupts() as stop_requested:
        if interrupted:
            send(signal.SIGINT)
        Printer()("step 2/8")
        assert stop_requested(3)
    assert unread.write("more")  # goes nowhere
