"""Pages of tiles and text, such as the sheets of an evaluation and of a user's own images."""

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

TEXT = 13
"""Usual size of letters, pixels."""
_font = functools.cache(ImageFont.load_default)
Colour = str | tuple[int, int, int]


class Page:
    """A white page that grows downwards: what is placed stands at ``top``, which the caller moves on."""

    def __init__(self, width: int, top: int = 0) -> None:
        self.width, self.top = width, top
        self._tiles: list[tuple[tuple[int, int], np.ndarray]] = []
        self._texts: list[tuple[tuple[int, int], str, Colour, int, int]] = []

    def tile(self, left: int, tile: UInt8[np.ndarray, "h w 3"], down: int = 0) -> None:
        """Places an image, ``down`` pixels below the top."""
        self._tiles.append(((left, self.top + down), tile))

    def text(
        self, left: int, text: str, colour: Colour = "black", *, size: int = TEXT, down: int = 0, stroke: int = 0
    ) -> None:
        """Writes lines, ``down`` pixels below the top; ``stroke`` is the width of a black edge round the letters."""
        self._texts.append(((left, self.top + down), text, colour, size, stroke))

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The page down to ``top``."""
        page = Image.new("RGB", (self.width, self.top), "white")
        for place, tile in self._tiles:
            page.paste(Image.fromarray(tile), place)
        draw = ImageDraw.Draw(page)
        for place, text, colour, size, stroke in self._texts:
            draw.multiline_text(place, text, colour, _font(size), stroke_width=stroke, stroke_fill="black")
        return np.asarray(page)


def text_width(text: str, size: int = TEXT) -> float:
    """Pixels from left to right."""
    return _font(size).getlength(text)


def shortened(text: str, width: int) -> str:
    """The text without as much of its middle as makes it fit into ``width`` pixels."""
    short, kept = text, len(text)
    while kept and text_width(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return short
