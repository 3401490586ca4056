"""Scenes of creatures: a cluttered background, creatures of several classes, occluding objects, uneven light.

Objects have hard edges, so the mask is exact.
"""

import numpy as np
from jaxtyping import Float, UInt8

from mmnet_jax.data.datasets.creatures import shapes
from mmnet_jax.data.datasets.creatures.anatomy import HUES, SPECIES, Colour, Look
from mmnet_jax.data.datasets.creatures.draws import Draws
from mmnet_jax.data.datasets.creatures.shapes import Plane, Region

SIDES = (112, 144)
"""Range of an image's height and width, pixels."""
WINDOW = 1.25
"""Half the side of the window in which a creature is painted, in its own coordinates; it may cut the tip of a tail."""

GROUNDS = ("smooth", "sand", "grass", "water")
"""Surfaces of the background."""
CLUTTER = (*GROUNDS, "fur", "panels", "scales", "rings", "feathers")
"""Surfaces of objects in the background."""

Canvas = Float[np.ndarray, "h w 3"]
Mask = UInt8[np.ndarray, "h w"]


def draw_scene(seed: int, part: int, number: int) -> tuple[UInt8[np.ndarray, "h w 3"], Mask]:
    """RGB pixels and class mask of image ``number`` of a part (0: training, 1: test), a function of these alone.

    In 20 successive images each class is the main one once.
    """
    draws = Draws(seed, part, number)
    height, width = draws.whole(*SIDES), draws.whole(*SIDES)
    canvas, mask = background(draws, height, width), np.zeros((height, width), np.uint8)
    main = 1 + number % len(SPECIES)
    others = draws.sample([c for c in range(1, len(SPECIES) + 1) if c != main], draws.choice((0, 0, 1)))
    cast = [main] * draws.choice((1, 1, 1, 1, 2)) + others
    for i, kind in enumerate(draws.sample(cast, len(cast))):
        size = draws.uniform(0.4, 0.56) if kind == main else draws.uniform(0.26, 0.4)
        paint_creature(canvas, mask, kind, size * min(height, width), draws, stratum=(i + 0.5) / len(cast))
    for _ in range(draws.choice((0, 0, 0, 1))):
        paint_foreground(canvas, mask, draws)
    return expose(canvas, draws), mask


def background(draws: Draws, height: int, width: int) -> Canvas:
    """A background of a few textured regions and scattered small objects."""
    v, u = np.mgrid[0:height, 0:width] / np.float64(min(height, width))
    canvas = np.empty((height, width, 3))
    _paint_ground(canvas, np.ones((height, width), bool), u, v, draws)
    for _ in range(draws.whole(1, 3)):
        angle, wave = draws.uniform(0, 2 * np.pi), draws.uniform(0, 0.15)
        edge = np.cos(angle) * (u - 0.5) + np.sin(angle) * (v - 0.5) + wave * np.sin(7 * u + 5 * v + 6 * angle)
        _paint_ground(canvas, edge > draws.uniform(0.0, 0.35), u, v, draws)
    for _ in range(draws.whole(2, 5)):
        _paint_clutter(canvas, u, v, draws)
    return canvas


def _paint_ground(canvas: Canvas, where: Region, u: Plane, v: Plane, draws: Draws) -> None:
    _paint_surface(canvas, where, u, v, draws, draws.choice(GROUNDS), draws.colour((0.03, 0.3), (0.2, 0.6)))


def _paint_surface(
    canvas: Canvas, where: Region, u: Plane, v: Plane, draws: Draws, surface: str, colour: Colour, fineness: float = 1.0
) -> None:
    u, v = u[where], v[where]
    zoom, turn, strength = fineness * draws.uniform(0.8, 2.2), draws.uniform(-0.5, 0.5), draws.uniform(0.3, 1.0)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    factor = 1 + strength * (shapes.SURFACES[surface](cos * u + sin * v, cos * v - sin * u, draws.uniform(0, 6)) - 1)
    slope = 1 + draws.uniform(-0.4, 0.4) * (u - 0.5) + draws.uniform(-0.4, 0.4) * (v - 0.5)
    canvas[where] = (factor * slope)[:, None] * colour


def _paint_clutter(canvas: Canvas, u: Plane, v: Plane, draws: Draws) -> None:
    x, y = draws.uniform(0, u.max()), draws.uniform(0, v.max())
    turn, size = draws.uniform(0, np.pi), draws.uniform(0.04, 0.12)
    if draws.uniform() < 0.5:
        where = shapes.ellipse(u, v, (x, y), (size, size * draws.uniform(0.4, 1)), turn)
    else:
        where = shapes.box(u, v, (x, y), (size * 1.4, size * draws.uniform(0.15, 0.8)), turn)
    surface, colour = draws.choice(CLUTTER), draws.colour((0.05, 0.5), (0.2, 0.8))
    _paint_surface(canvas, where, u, v, draws, surface, colour, fineness=4.0)


def paint_creature(canvas: Canvas, mask: Mask, kind: int, size: float, draws: Draws, stratum: float = 0.5) -> None:
    """Paints a creature of class ``kind`` with a random look and pose.

    ``size`` is the number of pixels per unit of its own coordinates, in which a body is about 1.2 long; ``stratum`` is
    its approximate position from left (0) to right (1).
    """
    height, width = mask.shape
    parts = list(SPECIES.values())[kind - 1]
    look = Look.draw(draws, next(HUES[part] for part in parts if part in HUES))
    turn = draws.uniform(-0.45, 0.45)
    x = width * np.clip(stratum + draws.uniform(-0.18, 0.18), 0.15, 0.85)
    y = height * draws.uniform(0.35, 0.65)
    across = size * draws.uniform(0.85, 1.2) * draws.choice((-1, 1))
    along = size * draws.uniform(0.85, 1.2)
    reach = WINDOW * max(abs(across), along)
    top, bottom = int(max(0, y - reach)), int(min(height, y + reach + 1))
    left, right = int(max(0, x - reach)), int(min(width, x + reach + 1))
    rows, columns = np.mgrid[top:bottom, left:right]
    dx, dy = columns - x, rows - y
    u = (np.cos(turn) * dx + np.sin(turn) * dy) / across
    v = (np.cos(turn) * dy - np.sin(turn) * dx) / along
    own_canvas, own_mask = canvas[top:bottom, left:right], mask[top:bottom, left:right]
    for part in parts:
        for paint in part(u, v, look):
            shade = shapes.SURFACES[paint.surface](u[paint.where], v[paint.where], paint.phase)
            own_canvas[paint.where] = shade[:, None] * paint.colour
            own_mask[paint.where] = kind


def paint_foreground(canvas: Canvas, mask: Mask, draws: Draws) -> None:
    """Paints a post or a bush, which is background, over everything."""
    height, width = mask.shape
    v, u = np.mgrid[0:height, 0:width] / np.float64(min(height, width))
    x = draws.uniform(0, u.max())
    if draws.uniform() < 0.5:
        lean = draws.uniform(-0.3, 0.3)
        where = shapes.bar(u, v, (x, draws.uniform(-0.2, 0.4)), (x + lean, 1.6), draws.uniform(0.015, 0.04))
    else:
        bottom = draws.uniform(0.85, 1.1)
        where = shapes.ellipse(u, v, (x, bottom), (draws.uniform(0.1, 0.25), draws.uniform(0.1, 0.3)))
        where &= np.sin(40 * u + 8 * np.sin(13 * v)) * np.sin(37 * v) > -0.5
    _paint_ground(canvas, where, u, v, draws)
    mask[where] = 0


def expose(canvas: Canvas, draws: Draws) -> UInt8[np.ndarray, "h w 3"]:
    """Applies uneven light, a tint, blur and noise, and rounds to 8 bits."""
    height, width = canvas.shape[:2]
    v, u = np.mgrid[0:height, 0:width] / np.float64(max(height, width)) - 0.5
    light = draws.uniform(0.8, 1.15) + draws.uniform(-0.4, 0.4) * u + draws.uniform(-0.4, 0.4) * v
    tint = 1 + 0.12 * draws.noise(3)
    image = canvas * light[..., None] * tint[None, None, :]
    softness = draws.uniform(0.0, 0.2)
    for axis in (0, 1):
        near = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image = (1 - 2 * softness) * image + softness * near
    image += draws.uniform(0.005, 0.04) * draws.noise(height, width, 3)
    return (255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8)
