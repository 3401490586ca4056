"""Worker processes: signals, the death of their parent, tasks and errors."""

import errno
import multiprocessing
import os
import signal
import time

import pytest

from mmnet_jax.data.workers import begin_worker, distribute
from mmnet_jax.errors import UserError

CONTEXT = multiprocessing.get_context("spawn")


def answer(connection):
    begin_worker()
    connection.send(os.getpid())
    connection.send(connection.recv())


def employ(connection):
    CONTEXT.Process(target=answer, args=(connection,)).start()
    time.sleep(60)


def start(work):
    """A process, our end of a pipe to it or to its worker, and the process number at the other end."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(there,))
    process.start()
    there.close()
    return process, here, here.recv()


def test_a_worker_ignores_signals():
    worker, connection, number = start(answer)
    for each in (signal.SIGINT, signal.SIGTERM):
        os.kill(number, each)
    connection.send("still at work")
    assert connection.recv() == "still at work"
    worker.join(10)
    assert worker.exitcode == 0


def test_a_worker_exits_with_a_killed_parent():
    parent, connection, number = start(employ)
    assert number != parent.pid
    parent.kill()
    assert connection.poll(20), "the worker outlives its parent"
    with pytest.raises(EOFError):
        connection.recv()


def do(task, count):
    """Runs a function, or raises an exception."""
    function, value = task
    if function == "raise":
        raise value
    function(value)
    count(2)
    count(1)


def write_number(file):
    file.write_text(str(os.getpid()))


def kill(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("workers", [1, 3])
def test_tasks_are_distributed_and_counted(tmp_path, workers):
    counted, ours = [], os.getpid()
    files = [tmp_path / f"{i}" for i in range(7)]
    distribute(do, [(write_number, file) for file in files], workers, counted.append)
    assert sum(counted) == 21 and len(counted) == 14
    numbers = {int(file.read_text()) for file in files}
    assert numbers == {ours} if workers == 1 else ours not in numbers and 1 <= len(numbers) <= 3


def test_a_killed_worker_is_reported_and_ends_the_others():
    start = time.monotonic()
    sentence = r"^worker process \d+ was killed by SIGKILL while it made \(<function kill at 0x\w+>, 9\), "
    with pytest.raises(UserError, match=sentence):
        distribute(do, [(time.sleep, 60), (kill, signal.SIGKILL.value)], 2, lambda more: None)
    assert time.monotonic() - start < 30 and not multiprocessing.active_children()
    with pytest.raises(UserError, match=r"^worker process \d+ ended with status 3; its error is above; "):
        distribute(do, [(os._exit, 3), (time.sleep, 60)], 2, lambda more: None)


ERRORS = [UserError("a.png is broken."), OSError(errno.ENOSPC, "No space left on device", "a.png"), KeyError("a")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_a_worker_reach_the_caller(error):
    with pytest.raises(RuntimeError if isinstance(error, KeyError) else type(error)) as raised:
        distribute(do, [("raise", error), (time.sleep, 60)], 2, lambda more: None)
    if isinstance(error, KeyError):
        assert "KeyError: 'a'" in str(raised.value) and "raise value" in str(raised.value)
    else:
        assert str(raised.value) == str(error) and raised.value.args == error.args
    assert getattr(raised.value, "filename", None) == getattr(error, "filename", None)
