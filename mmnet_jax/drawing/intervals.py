"""Figures of numbers with their intervals, one row for each number."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from mmnet_jax.drawing.page import TEXT, shortened, text_width

INK, GRID, MARK = (40, 40, 40), (225, 225, 225), (150, 60, 50)
COLOURS = ((31, 99, 180), (230, 120, 30), (60, 150, 80), (150, 70, 160), (120, 120, 120))
"""Colours of the rows, repeated if there are more rows."""
NAMES, WIDTH, LINE, TITLE, SCALE, GAP = 220, 330, 22, 24, 26, 36
"""Width of the names and of a panel; height of a row, a title and a scale; gap between panels; in pixels."""


class Bar(NamedTuple):
    """A number and its interval."""

    name: str
    value: float
    low: float
    high: float


class Panel(NamedTuple):
    """Numbers on one scale."""

    title: str
    bars: Sequence[Bar]
    mark: float | None = None
    """A value to mark by a line."""


def draw_intervals(lines: Sequence[Sequence[Panel]]) -> UInt8[np.ndarray, "h w 3"]:
    """Draws panels in lines and columns; those of a line share the names at its left, those of a column the scale."""
    columns = list(zip(*lines, strict=True))
    ranges = [nice_scale([x for panel in column for x in _numbers(panel)]) for column in columns]
    names = min(NAMES, 8 + math.ceil(max(text_width(bar.name) for panel in columns[0] for bar in panel.bars)))
    heights = [TITLE + LINE * len(line[0].bars) + SCALE for line in lines]
    size = names + len(columns) * (WIDTH + GAP), sum(heights) + GAP * len(lines)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.font = ImageFont.load_default(TEXT)
    top = GAP // 2
    for line, height in zip(lines, heights, strict=True):
        for number, bar in enumerate(line[0].bars):
            draw.text((6, top + TITLE + LINE * number + 3), shortened(bar.name, names - 8), fill=INK)
        for column, (panel, scale) in enumerate(zip(line, ranges, strict=True)):
            _panel(draw, names + GAP // 2 + column * (WIDTH + GAP), top, panel, scale)
        top += height + GAP
    return np.asarray(image)


def nice_scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Ends of a scale that covers these values, and the step between its ticks: 1, 2 or 5 times a power of 10."""
    span = max(max(values) - min(values), 1e-3)
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * factor for factor in (0.2, 0.5, 1, 2, 5) if span / (power * factor) <= 6)
    return math.floor(min(values) / step) * step, math.ceil(max(values) / step + 1e-9) * step, step


def _numbers(panel: Panel) -> list[float]:
    marks = [] if panel.mark is None else [panel.mark]
    return marks + [x for bar in panel.bars for x in (bar.low, bar.value, bar.high)]


def _panel(draw: ImageDraw.ImageDraw, left: int, top: int, panel: Panel, scale: tuple[float, float, float]) -> None:
    first, last, step = scale
    above, below = top + TITLE, top + TITLE + LINE * len(panel.bars)

    def place(value: float) -> float:
        return left + WIDTH * (value - first) / (last - first)

    draw.text((left, top + 4), shortened(panel.title, WIDTH), fill=INK)
    for tick in range(round((last - first) / step) + 1):
        value = first + tick * step
        draw.line([(place(value), above), (place(value), below)], fill=GRID)
        label = f"{value:,.6g}" if abs(value) > step / 2 else "0"
        draw.text((place(value) - text_width(label) / 2, below + 4), label, fill=INK)
    if panel.mark is not None:
        draw.line([(place(panel.mark), above), (place(panel.mark), below)], fill=MARK)
    for number, bar in enumerate(panel.bars):
        y, colour = above + LINE * number + LINE // 2, COLOURS[number % len(COLOURS)]
        draw.line([(place(bar.low), y), (place(bar.high), y)], fill=colour, width=3)
        for end in (bar.low, bar.high):
            draw.line([(place(end), y - 4), (place(end), y + 4)], fill=colour)
        draw.ellipse([place(bar.value) - 4, y - 4, place(bar.value) + 4, y + 4], fill=colour)
