"""Metrics of a training: one JSON line a record, and the same as TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboardX import SummaryWriter


class MetricLog:
    """Appends to ``metrics.jsonl`` and to TensorBoard's files in a folder."""

    def __init__(self, folder: Path | None, step: int) -> None:
        """Opens the log of a training that stands at ``step``; what an interrupted one wrote beyond it is dropped.

        Without a folder, in a process that is not the first, nothing is written.
        """
        self._path: Path | None = None
        self._events: SummaryWriter | None = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.jsonl"
        kept = [line for line in read_lines(self._path) if json.loads(line)["step"] <= step]
        self._path.write_text("".join(line + "\n" for line in kept))
        self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, **metrics: float) -> None:
        """Records named numbers at a step."""
        if self._path is None or self._events is None:
            return
        with self._path.open("a") as lines:
            lines.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._events is not None:
            self._events.close()


def read_lines(path: Path) -> list[str]:
    """The whole lines of a log; one that a crash cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [line for line in lines if line.startswith("{") and line.endswith("}")]
