"""Logs the metrics of a training as JSON lines and as TensorBoard events."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from mmnet_jax.storage.files import naming, write_atomically

METRICS = "metrics.jsonl"


class MetricLog:
    """Appends to ``metrics.jsonl`` and to TensorBoard's files in a folder.

    ``write`` raises if the disk is full; tensorboardX's ``SummaryWriter`` writes in a thread, where the error is lost.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        """Opens the log at ``step`` and drops later records of an interrupted training; without a folder, no log."""
        self._folder = folder
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_lines(folder / METRICS) if json.loads(line)["step"] <= step]
        write_atomically(folder / METRICS, "".join(line + "\n" for line in kept).encode())
        with naming(folder):
            self._events = EventsWriter(str(folder / "events"))
            if step:  # makes TensorBoard drop later events
                self._events.write_event(Event(wall_time=time.time(), step=step + 1, file_version="brain.Event:2"))
            self._events.flush()

    def write(self, step: int, **metrics: float) -> None:
        """Appends a record of named numbers at a step."""
        if self._folder is None:
            return
        path = self._folder / METRICS
        with naming(path), path.open("a") as lines:
            lines.write(json.dumps({"step": step, **metrics}) + "\n")
        with naming(self._folder):
            for name, value in metrics.items():
                self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            self._events.flush()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._folder is not None:
            with naming(self._folder):
                self._events.close()


def read_lines(path: Path) -> list[str]:
    """The complete lines of a log; a crash may cut one short. Empty if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith("{") and line.endswith("}")]
