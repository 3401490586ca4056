"""Shapes and surfaces as functions of coordinates (u to the right, v down), one value a pixel."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

Plane = Float[np.ndarray, "*hw"]
Region = Bool[np.ndarray, "*hw"]
Point = tuple[float, float]


def ellipse(u: Plane, v: Plane, centre: Point, radii: Point, turn: float = 0.0) -> Region:
    """The inside of an ellipse, rotated by ``turn`` radians."""
    x, y = _turned(u - centre[0], v - centre[1], turn)
    return (x / radii[0]) ** 2 + (y / radii[1]) ** 2 < 1


def box(u: Plane, v: Plane, centre: Point, sides: Point, turn: float = 0.0) -> Region:
    """The inside of a rectangle with half sides ``sides`` and rounded corners."""
    x, y = _turned(u - centre[0], v - centre[1], turn)
    x2, y2 = (x / sides[0]) ** 2, (y / sides[1]) ** 2
    return x2 * x2 * x2 + y2 * y2 * y2 < 1


def bar(u: Plane, v: Plane, start: Point, end: Point, radius: float) -> Region:
    """The points within ``radius`` of the line from ``start`` to ``end``."""
    du, dv = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    return (u - start[0] - along * du) ** 2 + (v - start[1] - along * dv) ** 2 < radius * radius


def polygon(u: Plane, v: Plane, corners: Sequence[Point]) -> Region:
    """The inside of a convex polygon."""
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in edges)
    inside = np.ones(u.shape, bool)
    for a, b in edges:
        inside &= ((b[0] - a[0]) * (v - a[1]) - (b[1] - a[1]) * (u - a[0])) * area > 0
    return inside


def _turned(u: Plane, v: Plane, turn: float) -> tuple[Plane, Plane]:
    if not turn:
        return u, v
    cos, sin = np.cos(turn), np.sin(turn)
    return cos * u + sin * v, cos * v - sin * u


def _panels(u: Plane, v: Plane, phase: float) -> Plane:
    joints = (np.abs(np.sin(4.5 * u + phase)) < 0.14) | (np.abs(np.sin(6.5 * v + phase)) < 0.14)
    return np.where(joints, 0.55, 1.08)


def _scales(u: Plane, v: Plane, phase: float) -> Plane:
    row = np.floor(5 * v + phase)  # each row of bumps is shifted by half a bump
    x, y = (5 * u + 0.5 * (row % 2) + phase) % 1 - 0.5, (5 * v + phase) % 1 - 0.5
    return 1.3 - 1.7 * (x * x + y * y)


SURFACES: dict[str, Callable[[Plane, Plane, float], Plane]] = {
    "smooth": lambda u, v, phase: 1 + 0.1 * np.sin(5 * u + phase) * np.sin(4 * v + 2 * phase),
    "sand": lambda u, v, phase: (
        1 + 0.2 * np.sin(61 * u + 9 * np.sin(37 * v + phase)) * np.sin(53 * v + 8 * np.sin(41 * u + phase))
    ),
    "grass": lambda u, v, phase: (
        1 + 0.25 * np.sin(45 * u + 2 * np.sin(4 * v + phase)) * np.sin(5 * v + 7 * np.sin(9 * u + phase))
    ),
    "water": lambda u, v, phase: 1 + 0.2 * np.sin(14 * v + 1.5 * np.sin(6 * u + phase)),
    "fur": lambda u, v, phase: (
        1 + 0.22 * np.sin(31 * u + 4 * np.sin(9 * v + phase)) * np.sin(23 * v + 5 * np.sin(7 * u + phase))
    ),
    "panels": _panels,
    "scales": _scales,
    "rings": lambda u, v, phase: 1 + 0.35 * np.sign(np.sin(12 * u + phase)),
    "feathers": lambda u, v, phase: 1 + 0.3 * np.sin(20 * (u + 0.6 * v) + phase),
    "hoops": lambda u, v, phase: 1 + 0.35 * np.sign(np.sin(24 * v + phase)),
    "links": lambda u, v, phase: 1 + 0.5 * np.sign(np.sin(26 * u + phase)),
}
"""Name -> function from coordinates and a phase to brightness, a factor about 1."""
