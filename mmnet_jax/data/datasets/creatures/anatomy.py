"""Twenty classes of animals and vehicles, each a combination of 18 shared parts.

A creature has a body, legs or the like, a head, and optionally a part on its back and a tail. No part belongs to one
class or one fold alone. Colours, pose and proportions are random for each creature; its body decides its main hue.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmnet_jax.data.datasets.creatures.draws import Draws
from mmnet_jax.data.datasets.creatures.shapes import Plane, Region, bar, box, ellipse, polygon

Colour = Float[np.ndarray, "3"]


class Paint(NamedTuple):
    """A painted region."""

    where: Region
    colour: Colour
    surface: str = "smooth"
    """A key of ``SURFACES``."""
    phase: float = 0.0


class Look(NamedTuple):
    """Random appearance, which varies between creatures of one class."""

    main: Colour
    second: Colour
    dark: Colour
    phase: float
    """Shift of the surfaces, radians."""
    swing: float
    """Position of legs, wings and tail, from -1 to 1."""
    stretch: float
    """Length of the limbs, a factor about 1."""

    @classmethod
    def draw(cls, draws: Draws, hue: float) -> "Look":
        """Draws a look whose main colour has a hue within 0.12 of ``hue``."""
        return cls(
            main=draws.colour(hue=(hue - 0.12, hue + 0.12)),
            second=draws.colour(),
            dark=draws.colour((0.0, 0.5), (0.08, 0.25)),
            phase=draws.uniform(0, 2 * np.pi),
            swing=draws.uniform(-1, 1),
            stretch=draws.uniform(0.85, 1.15),
        )


Part = Callable[[Plane, Plane, Look], Iterator[Paint]]
"""Function from coordinates and look to painted regions, from back to front."""


# Bodies, about 1.2 long.
def oval(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(ellipse(u, v, (0, 0), (0.62, 0.36)), look.main, "fur", look.phase)


def hull(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(box(u, v, (0, -0.02), (0.6, 0.34)), look.main, "panels", look.phase)


def shell(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    dome = ellipse(u, v, (0, 0.22), (0.66, 0.66)) & (v < 0.25)
    yield Paint(dome, look.main, "scales", look.phase)
    yield Paint(dome & (v > 0.15), look.second)


def tube(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(box(u, v, (0, 0.04), (0.78, 0.22)), look.main, "rings", look.phase)


# Legs and the like, below the body.
def legs(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    for i, hip in enumerate((-0.45, -0.2, 0.2, 0.45)):
        foot = hip + 0.14 * look.swing * (-1) ** i
        yield Paint(bar(u, v, (hip, 0.2), (foot, 0.2 + 0.42 * look.stretch), 0.1), look.main * 0.7)
        yield Paint(ellipse(u, v, (foot + 0.03, 0.2 + 0.46 * look.stretch), (0.14, 0.08)), look.dark)


def wheels(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    for axle in (-0.38, 0.38):
        yield Paint(ellipse(u, v, (axle, 0.38), (0.25, 0.25)), look.dark)
        yield Paint(ellipse(u, v, (axle, 0.38), (0.15, 0.15)), np.array([0.75, 0.75, 0.78]))
        for spoke in (0.0, np.pi / 2):
            turn = spoke + np.pi * look.swing
            yield Paint(box(u, v, (axle, 0.38), (0.15, 0.03), turn), look.dark)


def tracks(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    belt = box(u, v, (0, 0.4), (0.68, 0.17))
    yield Paint(belt, look.dark)
    yield Paint(belt & ~box(u, v, (0, 0.4), (0.6, 0.1)), np.array([0.6, 0.6, 0.55]), "links", look.phase)
    for axle in (-0.4, 0.0, 0.4):
        yield Paint(ellipse(u, v, (axle, 0.4), (0.09, 0.09)), np.array([0.6, 0.6, 0.6]))


def fins(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    for root in (-0.3, 0.25):
        tip = (root - 0.3, 0.3 + 0.36 * look.stretch)
        corners = [(root - 0.16, 0.1), (root + 0.2, 0.1), (tip[0] + 0.1, tip[1]), (tip[0] - 0.05, tip[1] - 0.06)]
        yield Paint(polygon(u, v, corners), look.second, "feathers", look.phase)


# Heads, at the right end.
def snout(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    lift = 0.08 * look.swing
    for ear in (0.5, 0.7):
        yield Paint(ellipse(u, v, (ear, -0.5 - lift), (0.07, 0.16), 0.3), look.main * 0.6)
    yield Paint(ellipse(u, v, (0.66, -0.25 - lift), (0.25, 0.22)), look.main, "fur", look.phase + 1)
    yield Paint(ellipse(u, v, (0.86, -0.18 - lift), (0.14, 0.1)), look.second)
    yield Paint(ellipse(u, v, (0.96, -0.2 - lift), (0.04, 0.04)), look.dark)
    yield from _eye(u, v, (0.68, -0.32 - lift), look)


def beak(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    lift = 0.08 * look.swing
    yield Paint(bar(u, v, (0.5, 0.0), (0.72, -0.36 - lift), 0.15), look.main * 0.85)
    bill = [(0.78, -0.52 - lift), (0.78, -0.26 - lift), (1.12, -0.32 - lift)]
    yield Paint(polygon(u, v, bill), np.array([0.95, 0.65, 0.1]))
    yield Paint(ellipse(u, v, (0.72, -0.4 - lift), (0.2, 0.2)), look.second)
    yield from _eye(u, v, (0.76, -0.44 - lift), look)


def cab(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(box(u, v, (0.62, -0.2), (0.26, 0.4)), look.second, "panels", look.phase + 2)
    glass = box(u, v, (0.66, -0.34), (0.17, 0.15))
    yield Paint(glass, np.array([0.65, 0.85, 0.95]))
    yield Paint(glass & (np.abs(u - v - 1.0 - 0.05 * look.swing) < 0.05), np.array([0.95, 1.0, 1.0]))
    yield Paint(ellipse(u, v, (0.86, 0.06), (0.06, 0.06)), np.array([1.0, 0.95, 0.5]))


def horns(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    lift = 0.06 * look.swing
    for side in (-1, 1):
        yield Paint(bar(u, v, (0.66, -0.3), (0.7 + 0.2 * side, -0.66 - lift), 0.07), np.array([0.92, 0.9, 0.8]))
    head = polygon(u, v, [(0.42, -0.42), (0.9, -0.42), (0.84, 0.08), (0.62, 0.08)])
    yield Paint(head, look.main * 0.8, "scales", look.phase)
    yield from _eye(u, v, (0.58, -0.26), look)
    yield from _eye(u, v, (0.76, -0.26), look)


def _eye(u: Plane, v: Plane, centre: tuple[float, float], look: Look) -> Iterator[Paint]:
    yield Paint(ellipse(u, v, centre, (0.065, 0.065)), np.array([0.97, 0.97, 0.95]))
    yield Paint(ellipse(u, v, (centre[0] + 0.02, centre[1]), (0.03, 0.035)), look.dark)


# On the back.
def wings(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    turn = -0.9 - 0.25 * look.swing
    for root, shade in ((0.08, 0.75), (-0.12, 1.0)):
        centre = (root - 0.25, -0.48)
        wing = ellipse(u, v, centre, (0.5 * look.stretch, 0.17), -turn)
        yield Paint(wing, look.second * shade, "feathers", look.phase)


def spines(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    for x in (-0.48, -0.24, 0.0, 0.24):
        tip = (x - 0.06, -0.3 - 0.36 * look.stretch)
        yield Paint(polygon(u, v, [(x - 0.14, -0.14), (x + 0.14, -0.14), tip]), look.second)


def rotor(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(bar(u, v, (-0.05, -0.2), (-0.05, -0.62), 0.08), look.dark)
    blade = box(u, v, (-0.05, -0.64), (0.62 * look.stretch, 0.085), 0.12 * look.swing)
    yield Paint(blade, np.array([0.82, 0.82, 0.86]))
    yield Paint(ellipse(u, v, (-0.05, -0.64), (0.1, 0.08)), look.second)


# Tails, at the left end.
def fan(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    swing = 0.1 * look.swing
    upper = [(-0.5, 0.06), (-0.5, -0.1), (-1.02, -0.42 + swing), (-0.9, 0.0)]
    lower = [(-0.5, 0.06), (-0.9, 0.0), (-1.02, 0.36 + swing)]
    yield Paint(polygon(u, v, upper) | polygon(u, v, lower), look.second, "feathers", look.phase)


def whip(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    middle = (-0.85, -0.1 + 0.15 * look.swing)
    yield Paint(bar(u, v, (-0.5, 0.0), middle, 0.085), look.main * 0.75)
    yield Paint(bar(u, v, middle, (-1.0, -0.45 + 0.2 * look.swing), 0.075), look.main * 0.75)
    yield Paint(ellipse(u, v, (-1.0, -0.47 + 0.2 * look.swing), (0.12, 0.12)), look.dark)


def pipe(u: Plane, v: Plane, look: Look) -> Iterator[Paint]:
    yield Paint(bar(u, v, (-0.45, 0.05), (-0.78, 0.05), 0.09), look.dark + 0.25)
    yield Paint(box(u, v, (-0.82, -0.12), (0.1, 0.26 * look.stretch)), look.second, "hoops", look.phase)


HUES: dict[Part, float] = {oval: 0.08, shell: 0.3, hull: 0.58, tube: 0.85}
"""Body -> centre of the main colour's hue."""

SPECIES: dict[str, tuple[Part, ...]] = {
    "tortoise": (whip, legs, shell, beak),
    "bus": (pipe, hull, wheels, cab),
    "fish": (fan, fins, oval, spines, snout),
    "dragon": (whip, tube, legs, wings, horns),
    "helicopter": (fan, rotor, shell, wheels, cab),
    "bull": (whip, oval, legs, horns),
    "tank": (pipe, shell, tracks, cab),
    "swan": (fan, oval, fins, wings, beak),
    "train": (tube, spines, wheels, snout),
    "drone": (rotor, hull, legs, horns),
    "snail": (shell, tracks, horns),
    "plane": (fan, tube, wheels, wings, cab),
    "lizard": (whip, tube, spines, legs, beak),
    "submarine": (pipe, rotor, tube, fins, snout),
    "cow": (oval, tracks, wings, snout),
    "truck": (hull, spines, wheels, horns),
    "hen": (fan, oval, legs, beak),
    "crawler": (pipe, tube, tracks, rotor, beak),
    "whale": (fan, hull, fins, snout),
    "beetle": (wings, shell, legs, cab),
}
"""Name -> parts, from back to front; the n-th species is class n."""
