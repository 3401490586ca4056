"""Writes the measured cells as a table and a figure."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mmnet_jax.drawing.intervals import Bar, Panel, draw_intervals
from mmnet_jax.evaluation.markdown import markdown_table

NAMES = "backbone", "px", "task", "shots", "batch", "by", "precision"
NUMBERS = "median, ms", "p95, ms", "episodes/s", "peak, GB", "setup peak, GB", "compile, s", "TFLOP/s"
OURS, PEER = "mmnet_jax", "PyTorch"
HEAD = (*NAMES, *NUMBERS, "of the matrix peak", "PyTorch's time over ours")

Record = dict[str, Any]
"""The fields of the ``Cell``, the implementation ``by`` which it was measured, and the facts from ``measure``."""


def markdown(cells: Sequence[Record], matrix: Record) -> str:
    """A row for each cell; FLOP/s are FLOP over the median time, also as a fraction of the ``matrix`` product's."""
    lines = markdown_table(HEAD, [_row(cell, cells, matrix) for cell in cells])
    return "\n".join([f"{_matrix_sentence(matrix)}\n", *lines]) + "\n"


def label(cell: Record) -> str:
    """A label such as ``query, 5 shots, batch 1, PyTorch in TF32``."""
    by = "" if cell["by"] == OURS else f", {cell['by']} in {cell.get('precision', '?')}"
    return f"{cell['task']}, {cell['shots']} shot{'s' * (cell['shots'] > 1)}, batch {cell['batch_size']}{by}"


def figure(cells: Sequence[Record]) -> UInt8[np.ndarray, "h w 3"]:
    """Time and memory of the cells that did not fail, a row of panels for each backbone and image size."""
    groups: dict[str, list[Record]] = {}
    for cell in cells:
        if "error" not in cell:
            groups.setdefault(f"{cell['backbone']}, {cell['image_size']} px", []).append(cell)
    return draw_intervals([_panels(title, group) for title, group in groups.items()])


def _panels(title: str, cells: Sequence[Record]) -> list[Panel]:
    times, memory = [], []
    for cell in cells:
        each = [1e3 * s / cell["batch_size"] for s in cell["seconds"]]
        times.append(Bar(label(cell), statistics.median(each), min(each), float(np.percentile(each, 95))))
        gigabytes = (cell["peak_bytes"] or 0) / 1e9
        memory.append(Bar(label(cell), gigabytes, gigabytes, gigabytes))
    return [Panel(f"{title}: ms an episode", times, 0.0), Panel("peak memory, GB", memory, 0.0)]


def _row(cell: Record, cells: Sequence[Record], matrix: Record) -> list[str]:
    layout = f", {cell['layout']}" if "layout" in cell else ""
    row = [str(cell[name]) for name in ("backbone", "image_size", "task", "shots", "batch_size")]
    row += [cell["by"] + layout, cell.get("precision", "")]
    if "error" in cell:
        return [*row, f"failed: {cell['error'].replace('|', '/')}", *[""] * (len(HEAD) - len(row) - 1)]
    median = statistics.median(cell["seconds"])
    row += [f"{1e3 * median:.1f}", f"{1e3 * np.percentile(cell['seconds'], 95):.1f}"]
    row.append(f"{cell['batch_size'] / median:.2f}")
    row += [f"{cell[peak] / 1e9:.2f}" if cell[peak] else "" for peak in ("peak_bytes", "setup_peak_bytes")]
    if "flop" not in cell:
        return [*row, *[""] * (len(HEAD) - len(row))]
    achieved, peak = cell["flop"] / median, _peak(matrix)
    fraction = f"{achieved / peak:.0%}" if peak and matrix["precision"] == cell["precision"] else ""
    return [*row, f"{cell['compile_s']:.1f}", f"{achieved / 1e12:.3g}", fraction, _ratios(cell, cells, median)]


def _ratios(cell: Record, cells: Sequence[Record], median: float) -> str:
    """The peer's time over ours; the peer encodes supports with each query, so a query is compared with its episode."""
    same = {name: cell[name] for name in ("backbone", "image_size", "shots", "batch_size")}
    same |= {"by": PEER, "task": "episode" if cell["task"] == "query" else cell["task"]}
    peers = [peer for peer in cells if same.items() <= peer.items() and "error" not in peer]
    return ", ".join(f"{statistics.median(peer['seconds']) / median:.2f} ({peer['precision']})" for peer in peers)


def _peak(matrix: Record) -> float | None:
    return None if "error" in matrix else matrix["flop"] / min(matrix["seconds"])


def _matrix_sentence(matrix: Record) -> str:
    if (peak := _peak(matrix)) is None:
        return f"The matrix product failed: {matrix['error']}"
    return f"Matrix peak of {matrix['device']}: {peak / 1e12:.3g} TFLOP/s in {matrix['precision']}."
