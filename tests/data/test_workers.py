"""Processes that work for another: deaf to what is said to all, and gone with the one they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mmnet_jax.data.workers import begin_worker

PARENT = """
import multiprocessing, os, time
from mmnet_jax.data.workers import begin_worker

def work(ready):
    begin_worker()
    ready.set()
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=work, args=(ready,))
    child.start()
    ready.wait()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def answer(connection):
    begin_worker()
    connection.send("ready")
    connection.send(connection.recv())


def test_a_worker_leaves_signals_to_its_parent():
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=answer, args=(there,))
    worker.start()
    assert here.recv() == "ready"
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    here.send("still at work")
    assert here.recv() == "still at work"
    worker.join(10)
    assert worker.exitcode == 0


def test_a_worker_ends_with_a_parent_that_was_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while runs(worker):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.05)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
