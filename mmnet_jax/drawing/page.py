"""Pages of image tiles and text, such as the sheets of ``evaluate`` and ``predict``."""

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

TEXT = 13
"""Default font size, in pixels."""
_font = functools.cache(ImageFont.load_default)
Colour = str | tuple[int, int, int]


class Page:
    """A white page that grows downwards: tiles and text are placed at ``top``, which the caller increases."""

    def __init__(self, width: int, top: int = 0) -> None:
        self.width, self.top = width, top
        self._tiles: list[tuple[tuple[int, int], np.ndarray]] = []
        self._texts: list[tuple[tuple[int, int], str, Colour, int, int]] = []

    def tile(self, left: int, tile: UInt8[np.ndarray, "h w 3"], down: int = 0) -> None:
        """Places an image ``down`` pixels below ``top``."""
        self._tiles.append(((left, self.top + down), tile))

    def text(
        self, left: int, text: str, colour: Colour = "black", *, size: int = TEXT, down: int = 0, stroke: int = 0
    ) -> None:
        """Writes lines of text ``down`` pixels below ``top``; ``stroke`` is the width of a black outline."""
        self._texts.append(((left, self.top + down), text, colour, size, stroke))

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The page as an image whose height is ``top``."""
        page = Image.new("RGB", (self.width, self.top), "white")
        for place, tile in self._tiles:
            page.paste(Image.fromarray(tile), place)
        draw = ImageDraw.Draw(page)
        for place, text, colour, size, stroke in self._texts:
            draw.multiline_text(place, text, colour, _font(size), stroke_width=stroke, stroke_fill="black")
        return np.asarray(page)


def text_width(text: str, size: int = TEXT) -> float:
    """Width of a line of text, in pixels."""
    return _font(size).getlength(text)


def shortened(text: str, width: int) -> str:
    """The text, with its middle replaced by ``...`` if it is wider than ``width`` pixels."""
    short, kept = text, len(text)
    while kept and text_width(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return short
