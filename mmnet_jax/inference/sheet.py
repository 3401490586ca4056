"""Sheets of a user's own pictures: the examples of the class on top, then every query with what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from mmnet_jax.drawing.pictures import SUPPORT, fit_mask, fit_picture, fit_size, heat, overlay, resize_map
from mmnet_jax.inference.supports import Box, Example

QUERIES_PER_SHEET = 24
WIDTH, EDGE, GAP, BETWEEN = 1160, 16, 6, 24
"""Of a sheet, its edge, and the gaps within a query and between queries, pixels."""
COLUMNS = 3
EXAMPLES_IN_A_ROW, EXAMPLE = 6, 180
LINE, TITLE, TEXT = 18, 17, 13
"""Height of a line and sizes of its letters, pixels."""
GREY = (110, 110, 110)

Item = TypeVar("Item")


class Cell(NamedTuple):
    """A query on the sheet."""

    found: UInt8[np.ndarray, "h w 3"]
    """The picture with its mask."""
    probability: UInt8[np.ndarray, "h w 3"]
    """Heat of the same size."""
    name: str
    summary: str


def sheet_files(queries: int, output: str | Path) -> list[Path]:
    """``sheet.png`` and, where the queries need more than one, ``sheet_2.png`` and so on."""
    pages = -(-queries // QUERIES_PER_SHEET)
    return [Path(output) / ("sheet.png" if page == 0 else f"sheet_{page + 1}.png") for page in range(pages)]


def cell_side(queries: int) -> int:
    """Longer side of a tile in pixels, so that few queries are shown larger."""
    columns = min(queries, COLUMNS)
    cell = (WIDTH - 2 * EDGE - (columns - 1) * BETWEEN) // columns
    return (cell - GAP) // 2


def draw_cell(
    picture: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    margin: Float[np.ndarray, "h_in w_in"],
    side: int,
    name: str,
    summary: str,
) -> Cell:
    """A query as it appears on a sheet.

    Args:
      picture: RGB.
      mask: where the class was found.
      margin: foreground's logit less background's over the picture, at any resolution.
      side: from ``cell_side``.
      name: of the picture.
      summary: what was found, in a few words.
    """
    found = overlay(fit_picture(picture, side), fit_mask(mask, side))
    probability = foreground_probability(resize_map(margin, fit_size(mask.shape, side)))
    return Cell(found, heat(probability), name, summary)


def foreground_probability(margin: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Softmax of two logits for the second, from their difference."""
    return 0.5 + 0.5 * np.tanh(0.5 * margin)


def draw_sheet(
    examples: Sequence[Example], cells: Sequence[Cell], page: int, pages: int, queries: int
) -> UInt8[np.ndarray, "h w 3"]:
    """One sheet: on the first page the examples, on each its queries with a legend.

    Args:
      examples: of the class.
      cells: at most ``QUERIES_PER_SHEET`` queries, the tiles of all pages of the same side.
      page: from 0.
      pages: how many.
      queries: on all pages.
    """
    sheet = _Sheet()
    if page == 0 and examples:
        sheet.title(f"the class, shown by {_count(len(examples), 'example')}")
        for row in _rows(examples, EXAMPLES_IN_A_ROW):
            tiles = [[overlay(fit_picture(e.picture, EXAMPLE), fit_mask(e.mask, EXAMPLE), SUPPORT, 0.2)] for e in row]
            sheet.tiles(tiles, EXAMPLE, [_example_captions(example) for example in row], 2 * GAP)
    title = "where it was found in " + _count(queries, "picture") + (f", page {page + 1} of {pages}" * (pages > 1))
    sheet.title(title)
    sheet.legend()
    side = cell_side(queries)
    for of_row in _rows(cells, min(queries, COLUMNS)):
        tiles = [[cell.found, cell.probability] for cell in of_row]
        sheet.tiles(tiles, 2 * side + GAP, [(cell.name, cell.summary) for cell in of_row], BETWEEN)
    return sheet.pixels()


def printable(name: str | Path) -> str:
    """A file's name as it can be drawn and printed whatever bytes it is made of."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


class _Sheet:
    """A page that grows downwards."""

    def __init__(self) -> None:
        self._page = Image.new("RGB", (WIDTH, 4 * LINE), "white")
        self._top = EDGE
        self._font = ImageFont.load_default(TEXT)

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        return np.asarray(self._page.crop((0, 0, WIDTH, self._top + EDGE)))

    def title(self, text: str) -> None:
        self._take(TITLE + 12).text((EDGE, self._top), text, "black", ImageFont.load_default(TITLE))
        self._top += TITLE + 12

    def legend(self) -> None:
        """What the two tiles of a query mean."""
        draw, left = self._take(LINE + 10), EDGE
        text = "left: the picture, what was found in red     right: the probability of the class, 0"
        draw.text((left, self._top), text, GREY, self._font)
        left += int(self._font.getlength(text)) + 8
        bar = heat(np.tile(np.linspace(0, 1, 120, dtype=np.float32), (TEXT, 1)))
        self._page.paste(Image.fromarray(bar), (left, self._top + 2))
        draw.text((left + 128, self._top), "1     (found: above 0.5)", GREY, self._font)
        self._top += LINE + 10

    def tiles(
        self, groups: Sequence[Sequence[np.ndarray]], width: int, captions: Sequence[Sequence[str]], gap: int
    ) -> None:
        """One row: groups of tiles of one size each, side by side, and lines of text under each group."""
        height = max(len(tile) for group in groups for tile in group)
        lines = max(map(len, captions))
        draw = self._take(height + lines * LINE + 16)
        for i, (group, caption) in enumerate(zip(groups, captions, strict=True)):
            left = EDGE + i * (width + gap)
            for tile in group:
                # all stand on one line, each above its caption
                self._page.paste(Image.fromarray(tile), (left, self._top + height - len(tile)))
                left += tile.shape[1] + GAP
            for n, line in enumerate(caption):
                at = (EDGE + i * (width + gap), self._top + height + 3 + n * LINE)
                draw.text(at, _shortened(printable(line), width, self._font), "black" if n == 0 else GREY, self._font)
        self._top += height + lines * LINE + 16

    def _take(self, height: int) -> ImageDraw.ImageDraw:
        """Makes room below and returns what draws there."""
        needed = self._top + height + EDGE
        if needed > self._page.height:
            longer = Image.new("RGB", (WIDTH, max(needed, 2 * self._page.height)), "white")
            longer.paste(self._page)
            self._page = longer
        return ImageDraw.Draw(self._page)


def _rows(items: Sequence[Item], columns: int) -> list[Sequence[Item]]:
    return [items[start : start + columns] for start in range(0, len(items), columns)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _example_captions(example: Example) -> tuple[str, str]:
    place = f"box {example.place}" if isinstance(example.place, Box) else f"mask {Path(example.place).name}"
    return Path(example.image).name, place


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text without as much of its middle as makes it fit."""
    short, kept = text, len(text)
    while kept and font.getlength(short) > width:
        kept -= 1
        short = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return short
