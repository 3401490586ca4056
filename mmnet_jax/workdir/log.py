"""Metrics of a training: one JSON line a record, and the same as TensorBoard events."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from mmnet_jax.storage.files import naming, write_whole


class MetricLog:
    """Appends to ``metrics.jsonl`` and to TensorBoard's files in a folder.

    What is written is in the files when ``write`` returns, and a full disk is told there: tensorboardX's own
    ``SummaryWriter`` writes in a thread whose end nobody hears of.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        """Opens the log of a training that stands at ``step``; what an interrupted one wrote beyond it is dropped.

        Without a folder, in a process that is not the first, nothing is written.
        """
        self._path: Path | None = None
        self._events: EventsWriter | None = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        kept = [line for line in read_lines(self._path) if json.loads(line)["step"] <= step]
        write_whole(self._path, "".join(line + "\n" for line in kept).encode())
        with naming(folder):
            self._events = EventsWriter(str(folder / "events"))
            if step:  # TensorBoard, too, shows nothing that an interrupted training wrote beyond it
                self._events.write_event(Event(wall_time=time.time(), step=step + 1, file_version="brain.Event:2"))
            self._events.flush()

    def write(self, step: int, **metrics: float) -> None:
        """Records named numbers at a step.

        Raises:
          OSError: naming the file that cannot be written.
        """
        if self._path is None or self._events is None:
            return
        with naming(self._path), self._path.open("a") as lines:
            lines.write(json.dumps({"step": step, **metrics}) + "\n")
        with naming(self._path.parent):
            for name, value in metrics.items():
                self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
            self._events.flush()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._path is not None and self._events is not None:
            with naming(self._path.parent):
                self._events.close()


def read_lines(path: Path) -> list[str]:
    """The whole lines of a log; one that a crash cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [line for line in lines if line.startswith("{") and line.endswith("}")]
