"""Training curves: loss and mIoU over the steps of a training."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmnet_jax.drawing.images import png_bytes
from mmnet_jax.storage.files import write_atomically
from mmnet_jax.workdir.log import METRICS, read_lines

WIDTH, HEIGHT, MARGIN = 900, 260, 56
INK, GRID, LINE = (40, 40, 40), (225, 225, 225), (31, 99, 180)
PANELS = (("loss", "total"), ("main cross entropy", "main"), ("mIoU, %", "miou"))
"""Title and name in the log of each curve."""


def read_curves(log: Path) -> list[tuple[str, list[tuple[int, float]]]]:
    """Title and (step, value) of each curve in ``MetricLog``'s folder: losses, and mIoU if it was evaluated."""
    records = [json.loads(line) for line in read_lines(log / METRICS)]
    series = [(title, [(r["step"], r[name]) for r in records if name in r]) for title, name in PANELS]
    return [(title, points) for title, points in series if points]


def draw_curve(log: Path, output: Path) -> None:
    """Draws the curves of ``read_curves`` as a PNG."""
    series = read_curves(log)
    image = Image.new("RGB", (WIDTH, HEIGHT * max(1, len(series))), "white")
    last = max((points[-1][0] for _, points in series), default=1)
    for row, (title, points) in enumerate(series):
        _panel(ImageDraw.Draw(image), row * HEIGHT, title, points, last)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, png_bytes(np.asarray(image)))


def _panel(draw: ImageDraw.ImageDraw, top: int, title: str, points: Sequence[tuple[int, float]], last: int) -> None:
    left, right, low, high = MARGIN, WIDTH - 20, top + HEIGHT - 34, top + 34
    floor, ceiling = min(0.0, *(y for _, y in points)), max(y for _, y in points) * 1.05 or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        fraction = (value - floor) / (ceiling - floor or 1)
        return left + (right - left) * step / last, low + (high - low) * fraction

    draw.text((left, top + 12), f"{title} (last: {points[-1][1]:.4g} at step {points[-1][0]})", fill=INK)
    for i in range(5):
        value = floor + (ceiling - floor) * i / 4
        y = place(0, value)[1]
        draw.line([(left, y), (right, y)], fill=GRID)
        draw.text((8, y - 6), f"{value:.3g}", fill=INK)
        draw.text((place(last * i / 4, floor)[0] - 12, low + 8), f"{last * i / 4:.0f}", fill=INK)
    places = [place(*point) for point in points]
    if len(places) > 1:
        draw.line(places, fill=LINE, width=2)
    for x, y in places if len(places) < 40 else places[-1:]:
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=LINE)
