"""Tasks measured in turns, each in a process of its own: its memory is its own, and a crash ends no other's."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

from mmnet_jax.benchmark.tasks import Task

Open = Callable[[], Task]
"""Builds and compiles a task in the process that runs it; it is pickled."""


def measure(tasks: Sequence[Open], repeats: int, context: Any = None) -> list[dict[str, Any]]:
    """Runs each task once untimed and ``repeats`` times timed, in turns, so that a slow moment of the machine hits all.

    Returns for each task its facts with ``seconds`` of the runs and ``peak_bytes``, or ``error``, one line, where it
    failed. ``context`` starts processes, as ``multiprocessing`` does; open: by spawning.
    """
    context = context or multiprocessing.get_context("spawn")
    records: list[dict[str, Any]] = []
    workers: list[_Worker] = []
    try:
        for task in tasks:  # one after the other: their compilations are timed
            workers.append(_Worker(task, context))
            records.append({"seconds": []} | workers[-1].answer())
        for _ in range(repeats):
            for worker, record in zip(workers, records, strict=True):
                if "error" not in record:
                    answer = worker.ask(True)
                    record["seconds"] += answer.pop("seconds", [])
                    record |= answer
        for worker, record in zip(workers, records, strict=True):
            if "error" not in record:
                record |= worker.ask(False)
    finally:
        for worker in workers:
            worker.close()
    return records


class _Worker:
    def __init__(self, task: Open, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, task))
        self._process.daemon = True
        self._process.start()
        if hasattr(self._process, "kill"):  # not where a test runs threads
            theirs.close()  # so that the end of the process is the end of the pipe

    def ask(self, more: bool) -> dict[str, Any]:
        self._pipe.send(more)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        try:
            return self._pipe.recv()
        except EOFError:
            self._process.join()
            return {"error": f"its process ended with status {self._process.exitcode} (-9: out of memory, mostly)"}

    def close(self) -> None:
        if hasattr(self._process, "kill"):
            self._process.kill()
        self._process.join()


def _serve(pipe: Any, open_task: Open) -> None:
    try:
        task = open_task()
        task.run()
        pipe.send(task.facts)
        while pipe.recv():
            start = time.perf_counter()
            task.run()
            pipe.send({"seconds": [time.perf_counter() - start]})
        pipe.send({"peak_bytes": task.peak_bytes()})
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # told in the table; the other cells go on
        pipe.send({"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
