"""Processes that work for another: deaf to what is said to all, and gone with the one they work for."""

import multiprocessing
import os
import signal
import time

import pytest

from mmnet_jax.data.workers import begin_worker

CONTEXT = multiprocessing.get_context("spawn")


def answer(connection):
    begin_worker()
    connection.send(os.getpid())
    connection.send(connection.recv())


def employ(connection):
    CONTEXT.Process(target=answer, args=(connection,)).start()
    time.sleep(60)


def start(work):
    """A process, our end of a pipe to it or its worker, and that one's number."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(there,))
    process.start()
    there.close()
    return process, here, here.recv()


def test_a_worker_leaves_signals_to_its_parent():
    worker, connection, number = start(answer)
    for each in (signal.SIGINT, signal.SIGTERM):
        os.kill(number, each)
    connection.send("still at work")
    assert connection.recv() == "still at work"
    worker.join(10)
    assert worker.exitcode == 0


def test_a_worker_ends_with_a_parent_that_was_killed():
    parent, connection, number = start(employ)
    assert number != parent.pid
    parent.kill()
    assert connection.poll(20), "the worker outlives its parent"
    with pytest.raises(EOFError):
        connection.recv()
