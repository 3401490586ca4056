"""Parts of a self-contained HTML page: elements with escaped text, inline images and line charts."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmnet_jax.drawing.images import RGB
from mmnet_jax.drawing.intervals import nice_scale

CHART, EDGES, POINTS = (360, 190), (44, 12, 26, 24), 300
"""Width and height of a chart; its left, right, upper and lower margins; most points of a curve, more are averaged."""
VOID_ELEMENTS = ("img", "meta", "circle", "line", "polyline")
"""Elements without content."""


class Markup(str):
    """HTML text, which needs no escaping."""


def element(tag: str, /, *content: str, **attributes: object) -> Markup:
    """An element; content is escaped unless it is ``Markup``. ``class_`` sets the attribute ``class``."""
    given = "".join(f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items())
    inner = "".join(part if isinstance(part, Markup) else html.escape(part) for part in content)
    return Markup(f"<{tag}{given}/>" if tag in VOID_ELEMENTS else f"<{tag}{given}>{inner}</{tag}>")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], **attributes: object) -> Markup:
    """A table whose first column heads the rows; without a head row if all words of ``head`` are empty."""
    top = [element("thead", element("tr", *(element("th", word) for word in head)))] if any(head) else []
    body = (element("tr", element("th", row[0]), *(element("td", cell) for cell in row[1:])) for row in rows)
    return element("div", element("table", *top, element("tbody", *body), **attributes), class_="scroll")


def inline_image(image: RGB, text: str) -> Markup:
    """An image embedded as a JPEG; ``text`` is its description."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=88)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return element("img", src=source, alt=text, title=text, width=image.shape[1], height=image.shape[0])


def line_chart(title: str, points: Sequence[tuple[float, float]]) -> Markup:
    """An SVG line chart of values over steps; both axes start at 0, or lower for negative values."""
    (width, height), (left, right, upper, lower) = CHART, EDGES
    low, high, tick = nice_scale([0.0, *(value for _, value in points)])
    last = max(step for step, _ in points) or 1

    def x(step: float) -> str:
        return f"{left + (width - left - right) * step / last:.1f}"

    def y(value: float) -> str:
        return f"{height - lower - (height - lower - upper) * (value - low) / (high - low):.1f}"

    caption = f"{title}: {points[-1][1]:.4g} at step {points[-1][0]:,.0f}"
    parts = [element("text", caption, x=left, y=14, class_="caption")]
    for number in range(round((high - low) / tick) + 1):
        value = low + number * tick
        parts.append(element("line", x1=left, x2=width - right, y1=y(value), y2=y(value), class_="grid"))
        parts.append(element("text", f"{value:.4g}", x=left - 5, y=float(y(value)) + 4, class_="right"))
    for step, side in ((0, "left"), (last / 2, "middle"), (last, "right")):
        parts.append(element("text", f"{step:,.0f}", x=x(step), y=height - 7, class_=side))
    means = [part.mean(axis=0) for part in np.array_split(np.array(points, float), min(POINTS, len(points)))]
    parts.append(element("polyline", points=" ".join(f"{x(step)},{y(value)}" for step, value in means)))
    for step, value in points if len(points) <= 40 else ():
        tooltip = element("title", f"step {step:,.0f}: {value:.4g}")
        parts.append(element("g", tooltip, element("circle", cx=x(step), cy=y(value), r=2.5)))
    return element("svg", *parts, viewBox=f"0 0 {width} {height}", role="img")
