"""Distribution of tasks to worker processes; their signals and errors."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar, cast

from mmnet_jax.errors import UserError

Task = TypeVar("Task")
Count = Callable[[int], None]
"""Adds units of work to those done."""

DONE = 0
"""A worker's message when it waits for a task; other numbers are units of work; exceptions are raised in the parent."""


def distribute(work: Callable[[Task, Count], None], tasks: Sequence[Task], workers: int, count: Count) -> None:
    """Calls ``work(task, count)`` for every task, in several worker processes or, with one worker, in this process.

    Workers are spawned, since a process that uses jax must not be forked; ``work`` and the tasks are pickled. No worker
    outlives the call, whether it returns or raises.

    Raises:
      UserError: a task raised it, or a worker was killed; finished tasks stay finished.
      OSError: a task raised it.
      RuntimeError: a task raised something else, whose traceback is the message.
    """
    if workers < 2:
        for task in tasks:
            work(task, count)
        return
    waiting, busy = deque(tasks), dict[Connection, tuple[BaseProcess, Task | None]]()
    processes: list[BaseProcess] = []
    context = multiprocessing.get_context("spawn")
    try:
        for _ in range(min(workers, len(tasks))):
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
            with _signals_held():  # an interrupted start would leave a worker that is not in the list
                process.start()
                processes.append(process)
            theirs.close()
            busy[ours] = process, None
        while busy:
            for connection in cast(list[Connection], wait(list(busy))):
                process, current = busy.pop(connection)
                try:
                    message = connection.recv()
                    if message == DONE:
                        if not waiting:
                            continue
                        connection.send(current := waiting.popleft())
                except (EOFError, OSError):
                    raise _lost(process, current) from None
                if isinstance(message, BaseException):
                    raise message
                if message != DONE:
                    count(message)
                busy[connection] = process, current
    finally:
        with _signals_held():
            for process in processes:
                process.kill()  # SIGTERM is ignored there
            for process in processes:
                process.join()


def available_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def begin_worker(*_: int) -> None:
    """Makes a worker process ignore SIGINT and SIGTERM and exit with its parent.

    A terminal's Ctrl-C and a scheduler's SIGTERM reach all processes of a command. The parent handles them, and needs
    its workers until the current step is done.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent()


def exit_with_parent() -> None:
    """Makes a worker process exit with its parent, also if that is killed."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _serve(work: Callable[[Task, Count], None], parent: Connection) -> None:
    """Runs the tasks that ``parent`` sends, and sends back units of work and errors."""
    begin_worker()
    with suppress(EOFError, BrokenPipeError):
        while True:
            try:
                parent.send(DONE)
                work(parent.recv(), parent.send)
            except (EOFError, BrokenPipeError):
                raise
            except (UserError, OSError) as error:
                parent.send(error)
            except Exception:
                parent.send(RuntimeError(f"in a worker process:\n{traceback.format_exc()}"))


def _lost(process: BaseProcess, task: object) -> UserError:
    process.join()
    code = process.exitcode or 0
    if code < 0:
        when = f"while it made {task}" if task else "as it started"
        how = f"was killed by {signal.Signals(-code).name} {when}, perhaps because memory ran out"
        return UserError(f"worker process {process.pid} {how}; the same command resumes from what is finished.")
    advice = 'in your own script, start workers below `if __name__ == "__main__":`'
    return UserError(f"worker process {process.pid} ended with status {code}; its error is above; {advice}.")


@contextmanager
def _signals_held() -> Iterator[None]:
    """Delays SIGINT and SIGTERM until the end of the block; a process that is started inside never gets them.

    Otherwise Ctrl-C could reach a new worker before it ignores the signal.
    """
    resource_tracker.ensure_running()  # or the first process would start it, which unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
