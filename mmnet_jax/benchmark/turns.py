"""Runs tasks in turns, each in its process, so that memory is measured for each and a crash ends only one."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from typing import Any

from mmnet_jax.benchmark.tasks import Task, reset_resident_peak
from mmnet_jax.data.workers import exit_with_parent

Open = Callable[[], Task]
"""Builds and compiles a task in the process that runs it; picklable."""
Facts = dict[str, Any]

_worker = threading.local()
"""Holds the ``task`` of a worker process."""


def start_worker() -> Executor:
    """A process that runs one call at a time."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=exit_with_parent)


def measure(tasks: Sequence[Open], repeats: int) -> list[Facts]:
    """Runs each task once untimed and ``repeats`` times timed, in turns, so that a slow moment affects all of them.

    Returns the facts of each task, with the ``seconds`` of its runs, their ``peak_bytes``, and ``setup_peak_bytes``
    (the peak of imports, compilation and the untimed run); if it failed, with ``error``, one line.
    """
    records: list[Facts] = [{"seconds": []} for _ in tasks]
    with ExitStack() as stack:
        workers = [stack.enter_context(start_worker()) for _ in tasks]

        def call_each(functions: Sequence[Callable[[], Facts]]) -> None:
            for worker, record, function in zip(workers, records, functions, strict=True):
                if "error" not in record:
                    facts = _call(worker, function)
                    record["seconds"] += facts.pop("seconds", [])
                    record |= facts

        call_each([partial(_open, task) for task in tasks])  # one after the other, because compilation is timed
        for _ in range(repeats):
            call_each([_run] * len(tasks))
        call_each([_peak] * len(tasks))
    return records


def _call(worker: Executor, function: Callable[[], Facts]) -> Facts:
    try:
        return worker.submit(_facts_or_error, function).result()
    except BrokenProcessPool:
        return {"error": "its process was killed, probably because memory ran out"}


def _facts_or_error(function: Callable[[], Facts]) -> Facts:
    try:
        return function()
    except Exception as error:  # the report names it, and the other tasks continue
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def _open(task: Open) -> Facts:
    _worker.task = task()
    _worker.task.run()
    facts = _worker.task.facts | {"setup_peak_bytes": _worker.task.peak_bytes()}
    reset_resident_peak()
    return facts


def _run() -> Facts:
    start = time.perf_counter()
    _worker.task.run()
    return {"seconds": [time.perf_counter() - start]}


def _peak() -> Facts:
    return {"peak_bytes": _worker.task.peak_bytes()}
