"""Result sheets: the supports on top, then every query with its mask and probability map."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mmnet_jax.drawing.images import FOREGROUND, RGB, Mask, fit_image, fit_mask, fit_size, heat, overlay, support_tile
from mmnet_jax.drawing.page import TEXT, Page, shortened, text_width
from mmnet_jax.errors import printable
from mmnet_jax.inference.supports import Example
from mmnet_jax.ops.resize import resize_on_host

QUERIES_PER_SHEET = 24
WIDTH, MARGIN, GAP, CELL_GAP = 1160, 16, 6, 24
"""Width of a sheet, its margin, and the gaps within and between queries, pixels."""
COLUMNS, EXAMPLES_IN_A_ROW, EXAMPLE = 3, 6, 180
LINE, TITLE = 18, 17
"""Line height and font size of titles, pixels."""
GREY = (110, 110, 110)


class Cell(NamedTuple):
    """Tiles of the same height side by side, with two lines of text below."""

    tiles: Sequence[UInt8[np.ndarray, "h _ 3"]]
    lines: tuple[str, str]


def tile_side(queries: int) -> int:
    """Longer side of a tile, pixels; fewer queries get larger tiles."""
    columns = min(queries, COLUMNS)
    return ((WIDTH - 2 * MARGIN - (columns - 1) * CELL_GAP) // columns - GAP) // 2


def query_cell(
    image: RGB, mask: Mask, margin: Float[np.ndarray, "h_in w_in"], side: int, lines: tuple[str, str]
) -> Cell:
    """A query with its mask, and the probability map of its ``foreground_margin`` of any resolution."""
    probability = foreground_probability(resize_on_host(margin, fit_size(mask.shape, side)))
    return Cell([overlay(fit_image(image, side), fit_mask(mask, side)), heat(probability)], lines)


def foreground_probability(margin: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Foreground probability, the softmax of two logits, from foreground minus background logit."""
    return 0.5 + 0.5 * np.tanh(0.5 * margin)


def draw_sheet(examples: Sequence[Example], cells: Sequence[Cell], page: int, pages: int, queries: int) -> RGB:
    """Draws page ``page`` (from 0) of ``pages``, with the page's cells; page 0 also shows the supports.

    ``queries`` is the number of queries on all pages.
    """
    sheet = Page(WIDTH, MARGIN)
    if page == 0 and examples:
        _title(sheet, f"{len(examples):,} example{'s' * (len(examples) > 1)} of the class, in yellow")
        shown = [Cell([support_tile(e.image, e.mask, EXAMPLE)], e.lines()) for e in examples]
        _rows(sheet, shown, EXAMPLES_IN_A_ROW, EXAMPLE, 2 * GAP)
        for note in (note for example in examples for note in example.notes):
            sheet.text(MARGIN, shortened(printable(note), WIDTH - 2 * MARGIN), FOREGROUND)
            sheet.top += LINE
        sheet.top += 10
    number = f", page {page + 1} of {pages}" if pages > 1 else ""
    _title(sheet, f"{queries:,} segmented picture{'s' * (queries > 1)}{number}")
    legend = "left: the picture, the class in red     right: the probability of the class, 0"
    left = MARGIN + int(text_width(legend)) + 8
    sheet.text(MARGIN, legend, GREY)
    sheet.tile(left, heat(np.tile(np.linspace(0, 1, 120, dtype=np.float32), (TEXT, 1))), down=2)
    sheet.text(left + 128, "1     (red: above 0.5)", GREY)
    sheet.top += LINE + 10
    _rows(sheet, cells, min(queries, COLUMNS), 2 * tile_side(queries) + GAP, CELL_GAP)
    sheet.top += MARGIN
    return sheet.pixels()


def _title(sheet: Page, text: str) -> None:
    sheet.text(MARGIN, text, size=TITLE)
    sheet.top += TITLE + 12


def _rows(sheet: Page, cells: Sequence[Cell], columns: int, width: int, gap: int) -> None:
    for start in range(0, len(cells), columns):
        row = cells[start : start + columns]
        height = max(len(tile) for cell in row for tile in cell.tiles)
        for i, cell in enumerate(row):
            left = at = MARGIN + i * (width + gap)
            for tile in cell.tiles:  # aligned at their lower edges
                sheet.tile(at, tile, down=height - len(tile))
                at += tile.shape[1] + GAP
            for n, line in enumerate(cell.lines):
                colour = GREY if n else "black"
                sheet.text(left, shortened(printable(line), width), colour, down=height + 3 + n * LINE)
        sheet.top += height + 2 * LINE + 16
